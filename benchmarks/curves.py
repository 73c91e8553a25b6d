"""Growth as a picture: `results/NAME.png`, both axes logarithmic. Without matplotlib there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .report import RESULTS

Lines = Mapping[str, Sequence[tuple[float, float]]]
Panels = Mapping[str, Lines]  # by title
COLUMNS = 3


def draw(name: str, x: str, y: str, panels: Panels, folder: Path | None = None) -> None:
    """A line for each row of a panel's lines; those with fewer than two points are left out."""
    try:
        import matplotlib
    except ImportError:
        print(f"{name}: no picture, matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(5 * columns, 4 * rows), squeeze=False, sharex=True, sharey=True
    )
    labels = dict.fromkeys(label for lines in panels.values() for label in lines)
    colours = {label: f"C{number}" for number, label in enumerate(labels)}
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        for label, points in lines.items():
            if len(points) > 1:
                axes.plot(
                    *zip(*points, strict=True), marker="o", markersize=3, label=label, color=colours[label]
                )
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)
        axes.grid(True, which="both", linewidth=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    path = (folder or RESULTS) / f"{name}.png"
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
    print(f"picture: {path.name}")
