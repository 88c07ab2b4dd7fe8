"""`python -m tf_einsum_grad.benchmark`: the same as `tf-einsum-grad bench`."""

import sys

from tf_einsum_grad.__main__ import main

sys.exit(main(["bench", *sys.argv[1:]]))
