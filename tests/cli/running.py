from tf_einsum_grad.cli.main import main


def run(capsys, *arguments):
    """The exit code, and what was written to stdout and stderr."""
    try:
        code = main(list(arguments))
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err
