from tests.benchmark.conftest import report, small_limit  # noqa: F401
