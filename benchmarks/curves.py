"""Growth as a picture: `results/NAME.png`, both axes logarithmic. Without matplotlib there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .report import RESULTS


def draw(
    name: str, x: str, y: str, lines: Mapping[str, Sequence[tuple[float, float]]], folder: Path | None = None
) -> None:
    """A line for each row of `lines`; those with fewer than two points are left out."""
    try:
        import matplotlib
    except ImportError:
        print(f"{name}: no picture, matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for label, points in lines.items():
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    path = (folder or RESULTS) / f"{name}.png"
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    print(f"picture: {path.name}")
