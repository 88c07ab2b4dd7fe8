"""Draws the pictures of docs/index.md and docs/attention.md: run it when what they show changes."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from tf_einsum_grad.draw import COLORS, draw_swap

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
INK, PAPER, DONE, NOW = "#333333", "#f2f2f2", "#b8cbe0", "#e8a33d"


def answer() -> plt.Figure:
    """The first gradient of the question: two terms cross; colors say what each equation sums."""
    figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
    draw_swap("ijkm,ijkn->imn", 0, ax=ax)
    meanings = {"batch": "in all three", "contracting": "summed", "free": "in one, and kept"}
    handles = [
        plt.Line2D([], [], color=COLORS[role], marker="s", ms=9, ls="", label=f"{role}: {meaning}")
        for role, meaning in meanings.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def attention() -> plt.Figure:
    """Which scores there are at a time, and what each way takes, from the page's own table."""
    figure, (whole, causal, memory) = plt.subplots(
        1, 3, figsize=(10, 3.4), layout="constrained", width_ratios=(1, 1, 1.25)
    )
    _scores(whole, [(0, 8), (1, 8)], (2, 0, 8), "one head's rows, all keys at once")
    _scores(causal, [(0, 1), (1, 2)], (2, 1, 1), "causal: blocks below the diagonal")
    lengths, native, ours, kept = _measured()
    memory.loglog(
        lengths[: len(native)], native, "o-", color=INK, label="tf.einsum, softmax, tf.einsum"
    )
    memory.loglog(lengths, ours, "o-", color=NOW, label="attention, without a mask")
    memory.loglog(lengths, kept, "s-", color=COLORS["batch"], label="attention, causal")
    memory.set(xlabel="T", ylabel="MB", title="peak memory, forward and backward")
    memory.set_xticks(lengths, [f"{n // 1024}k" for n in lengths], minor=False)
    memory.minorticks_off()
    memory.set_ylim(40, 4e5)
    memory.title.set_fontsize(10)
    memory.legend(frameon=False, fontsize=8, loc="upper left")
    memory.spines[["top", "right"]].set_visible(False)
    return figure


def _scores(
    ax: plt.Axes, done: list[tuple[int, int]], now: tuple[int, int, int], title: str
) -> None:
    """Draws 8 by 8 blocks of scores: those that are gone, and the one that is there."""
    ax.add_patch(Rectangle((0, 0), 8, 8, facecolor=PAPER, edgecolor=INK))
    for row, count in done:
        ax.add_patch(Rectangle((0, row), count, 1, facecolor=DONE, edgecolor="white"))
    row, first, count = now
    ax.add_patch(Rectangle((0, row), first, 1, facecolor=DONE, edgecolor="white"))
    ax.add_patch(Rectangle((first, row), count, 1, facecolor=NOW, edgecolor=INK))
    ax.set(xlim=(-0.2, 8.2), ylim=(8.2, -0.2), xlabel="keys s", ylabel="rows t", title=title)
    ax.title.set_fontsize(10)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _measured() -> tuple[list[int], list[float], list[float], list[float]]:
    """The lengths of the table in docs/attention.md, and megabytes: native, ours, ours causal."""
    lengths, native, ours, causal = [], [], [], []
    for line in (ROOT / "docs" / "attention.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if not cells[0].isdigit():
            continue
        if cells[1] == "no":
            lengths.append(int(cells[0]))
            ours.append(float(cells[5]))
            native += [float(cells[3])] if cells[3].isdigit() else []
        else:
            causal.append(float(cells[5]))
    return lengths, native, ours, causal


if __name__ == "__main__":
    for draw in (answer, attention):
        plt.rcParams["svg.hashsalt"] = draw.__name__
        path = PICTURES / f"{draw.__name__}.svg"
        draw().savefig(path, metadata={"Date": None}, facecolor="white")
