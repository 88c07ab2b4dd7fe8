"""Attention: an einsum with a softmax in the middle, a block at a time."""
