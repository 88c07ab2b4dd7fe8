"""Measures `tf_einsum_grad.einsum` against TensorFlow's own, other libraries, and the machine.

    from tf_einsum_grad.benchmark import compare, run_suite
    print(compare("ij,jk->ik", (1024, 1024), (1024, 1024)).to_markdown())
    run_suite(modes=("graph",), quick=True).to_html()

On the command line: `tf-einsum-grad bench EQUATION SHAPE...` and `tf-einsum-grad bench --suite`.

Names are imported when they are used, so that the command line answers `--help`, and says what is
wrong with its arguments, without the seconds that importing TensorFlow takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_einsum_grad._lazy import lazy_names

if TYPE_CHECKING:
    from tf_einsum_grad.benchmark.report import Report
    from tf_einsum_grad.benchmark.runner import ResultMismatch, compare, run_suite
    from tf_einsum_grad.benchmark.workloads import Workload, load_workloads

_HOME = {
    "Report": "report",
    "ResultMismatch": "runner",
    "Workload": "workloads",
    "compare": "runner",
    "load_workloads": "workloads",
    "run_suite": "runner",
}

__all__ = ["Report", "ResultMismatch", "Workload", "compare", "load_workloads", "run_suite"]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
