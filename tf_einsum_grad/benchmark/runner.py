"""`compare` and `run_suite`: check, then measure."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import tensorflow as tf

from tf_einsum_grad.benchmark.checks import ResultMismatch, check_results
from tf_einsum_grad.benchmark.environment import describe_environment
from tf_einsum_grad.benchmark.growth import measure_growth, measure_overheads
from tf_einsum_grad.benchmark.limits import measure_limit
from tf_einsum_grad.benchmark.memory import measure_memory, start_memory_worker
from tf_einsum_grad.benchmark.peers import find_peers, race, start_peer
from tf_einsum_grad.benchmark.report import Report
from tf_einsum_grad.benchmark.results import (
    Comparison,
    Failure,
    MachineLimit,
    Measurement,
    Memory,
)
from tf_einsum_grad.benchmark.statistics import paired_ratio, summarize
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import (
    as_arrays,
    build_variants,
    make_tensors,
    native_values,
)
from tf_einsum_grad.benchmark.workers import Worker, WorkerError
from tf_einsum_grad.benchmark.workloads import (
    MODES,
    PASSES,
    PEERS,
    Mode,
    Pass,
    PeerName,
    Workload,
    load_workloads,
)
from tf_einsum_grad.text.terminal import Advance

__all__ = ["ResultMismatch", "compare", "run_suite"]

# The machine's limit is measured before one workload in eight, briefly: the best of measurements
# spread over the run is the machine's, where one alone may be that of a busy moment.
_LIMIT_EVERY = 8
_LIMIT_EFFORT = Effort(repeats=3, seconds=0.05)


def compare(
    equation: str,
    *shapes: Sequence[int],
    dtype: str = "float32",
    modes: Sequence[Mode] = MODES,
    passes: Sequence[Pass] = PASSES,
    quick: bool = False,
    effort: Effort | None = None,
    memory: bool = True,
    peers: Sequence[PeerName] = (),
    peer_python: str | None = None,
    growth: bool = False,
    seed: int = 0,
    progress: Advance | None = None,
) -> Report:
    """Measures one einsum: ours and TensorFlow's own, on the same normally distributed inputs.

    Args:
        equation: as `tf.einsum` takes it.
        *shapes: one for each operand.
        dtype: of every operand: float16, bfloat16, float32, float64, complex64 or complex128.
        modes: of `eager`, `graph` and `xla`.
        passes: of `forward`, `backward` and `both`.
        quick: fewer repeats: enough to see what is going on, not to decide between close things.
        effort: how long to measure; by default 7 repeats and then until a second has passed.
        memory: whether to measure peak memory, which takes a process of its own.
        peers: of `torch` and `jax`, those to race as well.
        peer_python: the Python that has them; by default `TF_EINSUM_GRAD_PEER_PYTHON`, or this one.
        growth: whether to measure how cost grows with operands and batch.
        seed: of the inputs.
        progress: called before each step: its name, how many workloads are done, of how many.

    Returns:
        A report: `print(report.to_markdown())`.

    Raises:
        EinsumError: the equation cannot be read, or the shapes do not fit.
        ValueError: a dtype, mode or pass that there is not, or a peer that is not installed.
        ResultMismatch: ours differs from TensorFlow's by more than rounding can; nothing was timed.

    Example:
        >>> report = compare("ij,jk->ik", (64, 64), (64, 64), modes=("graph",), quick=True)
        >>> report.comparisons[0].find("graph").ratio.value > 0
        True
    """
    workload = Workload("einsum", "yours", equation, tuple(map(tuple, shapes)), dtype)
    effort = effort or _effort(quick)
    run = _Run(modes, passes, effort, memory, peers, peer_python, growth, seed, progress)
    return run.report((workload,), stop=True)


def run_suite(
    workloads: Sequence[Workload] | None = None,
    *,
    modes: Sequence[Mode] = MODES,
    passes: Sequence[Pass] = PASSES,
    quick: bool = False,
    effort: Effort | None = None,
    memory: bool = True,
    peers: Sequence[PeerName] = (),
    peer_python: str | None = None,
    growth: bool = False,
    seed: int = 0,
    progress: Advance | None = None,
) -> Report:
    """Measures many einsums, by default all that the package ships.

    A workload whose results are wrong, or that one of the two cannot run, is among the report's
    `failures` and is not timed.

    Args:
        workloads: what to measure; `load_workloads` picks by name, category and dtype.
        modes, passes, quick, effort, memory, peers, peer_python, growth, seed, progress: as for
            `compare`.

    Raises:
        ValueError: a mode or pass that there is not, or a peer that is not installed.

    Example:
        >>> tiny = load_workloads(["tiny"])
        >>> report = run_suite(tiny, modes=("graph",), quick=True, memory=False)
        >>> [c.workload.name for c in report.comparisons]
        ['tiny_matmul', 'tiny_attention']
    """
    effort = effort or _effort(quick)
    run = _Run(modes, passes, effort, memory, peers, peer_python, growth, seed, progress)
    return run.report(load_workloads() if workloads is None else workloads, stop=False)


def _effort(quick: bool) -> Effort:
    return Effort.quick() if quick else Effort()


@dataclass
class _Run:
    """How a run measures, the processes that live as long as it does, and what failed in them."""

    modes: Sequence[Mode]
    passes: Sequence[Pass]
    effort: Effort
    memory: bool
    peers: Sequence[PeerName]
    peer_python: str | None
    growth: bool
    seed: int
    progress: Advance | None
    memory_worker: Worker | None = None
    peer_workers: dict[PeerName, Worker] = field(default_factory=dict)
    peer_versions: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("mode", self.modes, MODES),
            ("pass", self.passes, PASSES),
            ("peer", self.peers, PEERS),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(known)}")

    def report(self, workloads: Sequence[Workload], *, stop: bool) -> Report:
        """Measures `workloads`; `stop` raises the first failure in place of noting it."""
        tell = self.progress or (lambda *_: None)
        total = len(workloads)
        comparisons: list[Comparison] = []
        failures: list[Failure] = []
        limits: dict[str, MachineLimit] = {}
        tell("the machine's limit", 0, total)
        environment = describe_environment()
        with ExitStack() as stack:
            self._start(stack, environment.threads)
            for done, workload in enumerate(workloads):
                tell(workload.name, done, total)
                if workload.dtype not in limits or done % _LIMIT_EVERY == 0:
                    limit = measure_limit(workload.dtype, _LIMIT_EFFORT)
                    limits[workload.dtype] = limits.get(workload.dtype, limit).best(limit)
                try:
                    comparisons.append(self._measure(workload))
                except (ResultMismatch, tf.errors.OpError, ValueError) as error:
                    if stop:
                        raise
                    failures.append(Failure(workload.name, str(error)))
        versions = (*environment.versions, *self.peer_versions.items())
        tell("overhead of a call", total, total)
        overheads = measure_overheads(self.effort) if "eager" in self.modes else ()
        if self.growth:
            tell("how cost grows", total, total)
        return Report(
            dataclasses.replace(environment, versions=versions),
            tuple(limits.values()),
            tuple(comparisons),
            (*failures, *self.failures),
            overheads,
            measure_growth(self.effort) if self.growth else (),
        )

    def _start(self, stack: ExitStack, threads: int) -> None:
        """Starts the processes, which end with `stack`."""
        if self.memory:
            self.memory_worker = stack.enter_context(start_memory_worker())
        present = find_peers(self.peer_python) if self.peers else ()
        for name in self.peers:
            if name not in present:
                raise ValueError(
                    f"the peer {name!r} is not installed; it comes with the extra: "
                    "pip install 'tf-einsum-grad[peers]'"
                )
            worker, self.peer_versions[name] = start_peer(name, threads, self.peer_python)
            self.peer_workers[name] = stack.enter_context(worker)

    def _measure(self, workload: Workload) -> Comparison:
        """Everything about one workload.

        Raises:
            ResultMismatch: ours is wrong.
            OpError, ValueError: ours or native cannot run it.
        """
        gc.collect()  # the graphs of the one before, which hold its tensors
        operands, cotangent = make_tensors(workload, self.seed)
        built = {
            mode: build_variants(workload.equation, mode, operands, cotangent)
            for mode in self.modes
        }
        reference = native_values(workload.equation, operands, cotangent)
        measurements = []
        for mode, passes in built.items():
            values = as_arrays(passes["ours"]["both"]()())
            check_results(workload, f"tf_einsum_grad in {mode} mode", values, reference)
            for which in self.passes:
                seconds = interleave({who: passes[who][which] for who in passes}, self.effort)
                ours, native = seconds["ours"], seconds["native"]
                ratio = paired_ratio(native, ours)
                timings = (summarize(ours), summarize(native))
                measurements.append(Measurement(mode, which, *timings, ratio))
        memory: tuple[Memory, ...] = ()
        if self.memory_worker is not None:
            with self._noting_failure(f"{workload.name} (memory)"):
                memory = measure_memory(workload, self.modes, self.memory_worker)
        both = (built.get("graph") or next(iter(built.values())))["ours"]["both"]
        peers = []
        for name, worker in self.peer_workers.items():
            with self._noting_failure(f"{workload.name} ({name})"):
                peers.append(race(workload, name, worker, reference, both, self.effort, self.seed))
        return Comparison(workload, tuple(measurements), memory, tuple(peers))

    @contextmanager
    def _noting_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ResultMismatch, WorkerError) as error:
            self.failures.append(Failure(name, str(error)))
