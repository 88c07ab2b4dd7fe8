"""`compare` and `run_suite`: check, then measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
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
    Peer,
)
from tf_einsum_grad.benchmark.statistics import paired_ratio, summarize
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import (
    VARIANTS,
    Preparation,
    Variant,
    as_arrays,
    build_passes,
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

__all__ = ["Progress", "ResultMismatch", "compare", "run_suite"]

# Called as (what is being measured, how many workloads are done, of how many).
Progress = Callable[[str, int, int], None]


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
    progress: Progress | None = None,
) -> Report:
    """Measures one einsum: ours and TensorFlow's own, on the same normally distributed inputs.

    Results and gradients are compared before anything is timed.

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
        peer_python: the Python that has them; by default the one that runs, or
            `TF_EINSUM_GRAD_PEER_PYTHON`.
        growth: whether to measure how cost grows with operands and batch.
        seed: of the inputs.
        progress: called before each step.

    Returns:
        A report: `print(report.to_markdown())`.

    Raises:
        EinsumError: the equation cannot be read, or the shapes do not fit.
        ValueError: a dtype, mode or pass that there is not, or a peer that is not installed.
        ResultMismatch: ours differs from TensorFlow's by more than rounding can.

    Example:
        >>> report = compare("ij,jk->ik", (64, 64), (64, 64), modes=("graph",), quick=True)
        >>> report.comparisons[0].find("graph").ratio.value > 0
        True
    """
    workload = Workload("einsum", "yours", equation, tuple(map(tuple, shapes)), dtype)
    effort = effort or _effort(quick)
    settings = _Settings(modes, passes, effort, memory, peers, peer_python, seed)
    return _run((workload,), settings, growth, progress, stop=True)


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
    progress: Progress | None = None,
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
        >>> report = run_suite(load_workloads(["tiny"]), modes=("graph",), quick=True)
        >>> [c.workload.name for c in report.comparisons]
        ['tiny_matmul', 'tiny_attention']
    """
    if workloads is None:
        workloads = load_workloads()
    effort = effort or _effort(quick)
    settings = _Settings(modes, passes, effort, memory, peers, peer_python, seed)
    return _run(workloads, settings, growth, progress, stop=False)


def _effort(quick: bool) -> Effort:
    return Effort.quick() if quick else Effort()


@dataclass(frozen=True, slots=True)
class _Settings:
    modes: Sequence[Mode]
    passes: Sequence[Pass]
    effort: Effort
    memory: bool
    peers: Sequence[PeerName]
    peer_python: str | None
    seed: int

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("mode", self.modes, MODES),
            ("pass", self.passes, PASSES),
            ("peer", self.peers, PEERS),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(known)}")


def _run(
    workloads: Sequence[Workload],
    settings: _Settings,
    growth: bool,
    progress: Progress | None,
    stop: bool,
) -> Report:
    """Measures `workloads`; `stop` raises the first failure in place of noting it."""
    report = progress or (lambda *_: None)
    total = len(workloads)
    comparisons: list[Comparison] = []
    failures: list[Failure] = []
    report("the machine's limit", 0, total)
    limits: dict[str, MachineLimit] = {}
    environment = describe_environment()
    with ExitStack() as stack:
        session = _Session(settings, stack, environment.threads)
        for done, workload in enumerate(workloads):
            report(workload.name, done, total)
            if workload.dtype not in limits or done % _LIMIT_EVERY == 0:
                limit = measure_limit(workload.dtype, _LIMIT_EFFORT)
                limits[workload.dtype] = limits.get(workload.dtype, limit).best(limit)
            try:
                comparisons.append(session.measure(workload))
            except (ResultMismatch, tf.errors.OpError, ValueError) as error:
                if stop:
                    raise
                failures.append(Failure(workload.name, str(error)))
        failures += session.failures
        versions = (*environment.versions, *session.peer_versions.items())
    report("overhead of a call", total, total)
    overheads = measure_overheads(settings.effort) if "eager" in settings.modes else ()
    report("how cost grows", total, total)
    curves = measure_growth(settings.effort) if growth else ()
    return Report(
        dataclasses.replace(environment, versions=versions),
        tuple(limits.values()),
        tuple(comparisons),
        tuple(failures),
        overheads,
        curves,
    )


# The machine's limit is measured before one workload in eight, briefly: the best of measurements
# spread over the run is the machine's, where one alone may be that of a busy moment.
_LIMIT_EVERY = 8
_LIMIT_EFFORT = Effort(repeats=3, seconds=0.05)


class _Session:
    """What lives as long as a run: the child processes, and what failed in them."""

    def __init__(self, settings: _Settings, stack: ExitStack, threads: int) -> None:
        self.settings = settings
        self.memory = stack.enter_context(start_memory_worker()) if settings.memory else None
        self.peers: dict[PeerName, Worker] = {}
        self.peer_versions: dict[str, str] = {}
        self.failures: list[Failure] = []
        present = find_peers(settings.peer_python) if settings.peers else ()
        for name in settings.peers:
            if name not in present:
                raise ValueError(
                    f"the peer {name!r} is not installed; it comes with the extra: "
                    "pip install 'tf-einsum-grad[peers]'"
                )
            worker, self.peer_versions[name] = start_peer(name, threads, settings.peer_python)
            self.peers[name] = stack.enter_context(worker)

    def measure(self, workload: Workload) -> Comparison:
        """Everything about one workload.

        Raises:
            ResultMismatch: ours is wrong.
            OpError, ValueError: ours or native cannot run it.
        """
        settings = self.settings
        operands, cotangent = make_tensors(workload, settings.seed)
        built = {
            mode: {
                who: build_passes(variant, workload.equation, mode, operands, cotangent)
                for who, variant in VARIANTS.items()
            }
            for mode in settings.modes
        }
        reference = native_values(workload.equation, operands, cotangent)
        measurements = []
        for mode, passes in built.items():
            values = as_arrays(passes["ours"]["both"]()())
            check_results(workload, f"tf_einsum_grad in {mode} mode", values, reference)
            for which in settings.passes:
                pair = {who: passes[who][which] for who in VARIANTS}
                measurements.append(_time(mode, which, pair, settings.effort))
        main = built.get("graph") or next(iter(built.values()))
        peers = self._race(workload, reference, main["ours"]["both"])
        return Comparison(workload, tuple(measurements), self._peak(workload), peers)

    def _peak(self, workload: Workload) -> tuple[Memory, ...]:
        if self.memory is None:
            return ()
        try:
            return measure_memory(workload, self.settings.modes, self.memory)
        except WorkerError as error:
            self.failures.append(Failure(f"{workload.name} (memory)", str(error)))
            return ()

    def _race(
        self, workload: Workload, reference: Sequence[np.ndarray], ours: Preparation
    ) -> tuple[Peer, ...]:
        found = []
        effort, seed = self.settings.effort, self.settings.seed
        for name, worker in self.peers.items():
            try:
                found.append(race(workload, name, worker, reference, ours, effort, seed))
            except (ResultMismatch, WorkerError) as error:
                self.failures.append(Failure(f"{workload.name} ({name})", str(error)))
        return tuple(found)


def _time(
    mode: Mode, which: Pass, pair: Mapping[Variant, Preparation], effort: Effort
) -> Measurement:
    samples = interleave(pair, effort)
    return Measurement(
        mode,
        which,
        summarize(samples["ours"]),
        summarize(samples["native"]),
        paired_ratio(samples["native"], samples["ours"]),
    )
