"""Draws the picture of docs/index.md: run it after a change of tf_einsum_grad.draw."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from tf_einsum_grad.draw import COLORS, draw_swap

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "answer.svg"


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


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "answer"
    answer().savefig(PICTURE, metadata={"Date": None}, facecolor="white")
