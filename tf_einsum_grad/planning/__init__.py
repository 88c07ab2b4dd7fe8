"""An einsum of any number of operands becomes contractions of one or two. Pure."""
