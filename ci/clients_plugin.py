"""A pytest plugin that installs our einsum: `pytest -p clients_plugin`, for other packages' tests."""

import tf_einsum_grad as teg


def pytest_configure(config):
    teg.install()


def pytest_unconfigure(config):
    teg.uninstall()
