"""The command line: `tf-einsum-grad`, also `python -m tf_einsum_grad`."""
