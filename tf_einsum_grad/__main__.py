"""`python -m tf_einsum_grad`: the command line."""

import sys

from tf_einsum_grad.cli.main import main

sys.exit(main())
