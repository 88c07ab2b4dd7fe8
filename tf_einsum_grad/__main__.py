"""`python -m tf_einsum_grad`: the command line."""

import sys

try:
    from tf_einsum_grad.cli.main import main

    code = main()
except KeyboardInterrupt:  # before `main` is there to say so
    print("tf-einsum-grad: interrupted", file=sys.stderr)
    code = 130
sys.exit(code)
