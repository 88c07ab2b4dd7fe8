"""A process that measures peak memory, in a fork of itself for each job.

It imports TensorFlow once and calls nothing of it, so that none of its threads run and a fork is a
fresh process that need not import it again; what calls TensorFlow, the forks import. Reads a job a
line from stdin, and writes its result, or an error, to stdout.
"""

from __future__ import annotations

import json
import os
import sys

import tensorflow  # noqa: F401

from tf_einsum_grad.benchmark.workloads import Workload

__all__: list[str] = []


def _measure(line: str) -> int:
    """Peak bytes of both passes, above what the process held with its inputs made."""
    from tf_einsum_grad.benchmark.peak import peak_bytes
    from tf_einsum_grad.benchmark.variants import VARIANTS, build_passes, make_tensors

    job = json.loads(line)
    workload = Workload("", "", job["equation"], tuple(map(tuple, job["shapes"])), job["dtype"])
    operands, cotangent = make_tensors(workload)
    einsum = VARIANTS[job["who"]]
    passes = build_passes(einsum, workload.equation, job["mode"], operands, cotangent)
    return peak_bytes(passes["both"](), "CPU:0")


def main() -> None:
    """Serves jobs until stdin ends."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            print(json.dumps({"bytes": _measure(line)}), flush=True)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            print(json.dumps({"error": f"the process ended with status {status}"}), flush=True)


if __name__ == "__main__":
    main()
