"""The command line: `tf-einsum-grad`, also `python -m tf_einsum_grad`."""

import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; Ctrl-C is heard from here on, so while that is imported as well.

    Returns:
        The exit code: see `tf_einsum_grad.cli.main`; 130 where it was interrupted.
    """
    try:
        from tf_einsum_grad.cli.main import main as run

        code = run(argv)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is Python's own end
        return code
    except KeyboardInterrupt:
        print("tf-einsum-grad: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
