"""One contraction of one or two operands becomes kernels, and what they cost on a machine. Pure."""
