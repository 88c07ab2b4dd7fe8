"""What an einsum is: equations, sizes, dtypes, roles of labels, errors. Pure."""
