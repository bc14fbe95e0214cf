"""Figures as PNG files, drawn without a display and without pyplot's global state."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sngan.files import replace

COLUMNS = 5
"""Panels in a row."""

COLOURS = ("tab:blue", "tab:orange")
"""The colours of the networks, in turn."""


def write_spectra(networks: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """A panel for each layer of each network: its singular values squared, over the largest of them, as the paper shows them.

    `networks` are titles -> layer names -> singular values, the largest first. The PNG file is replaced as a whole; raises `OSError`.
    """
    from matplotlib.figure import Figure

    columns = min(COLUMNS, max(map(len, networks.values())))
    rows = [math.ceil(len(layers) / columns) for layers in networks.values()]
    heights = [1.8 * n + 0.4 for n in rows]  # inches; 0.4 for the title
    figure = Figure(figsize=(max(2.1 * columns, 4.5), sum(heights)), dpi=150, layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, layers), n, colour in zip(parts, networks.items(), rows, COLOURS, strict=False):
        part.suptitle(title, fontsize=10)
        axes = part.subplots(n, columns, squeeze=False, sharey=True)
        for axis, (name, values) in zip(axes.flat, layers.items(), strict=False):
            _panel(axis, name, values, colour)
        for axis in axes.flat[len(layers) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel(r"$(\sigma_i / \sigma_1)^2$", fontsize=8)
    _save(figure, path)


def write_curves(
    curves: Mapping[str, Sequence[tuple[int, float]]], path: Path, *, best: Mapping[str, int], real: Mapping[str, float]
) -> None:
    """A panel for each score: its value against the step, with a ring around its best step, and a line where real images score.

    The PNG file is replaced as a whole; raises `OSError`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 2.4 * len(curves)), dpi=150, layout="constrained")
    axes = figure.subplots(len(curves), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        axis.plot(*zip(*points, strict=True), color=COLOURS[0], marker="o", markersize=3, linewidth=1.5)
        step, value = best[name], dict(points)[best[name]]
        ring = {"marker": "o", "markersize": 8, "fillstyle": "none", "linestyle": "none"}
        axis.plot(step, value, color=COLOURS[1], label=f"best: {value:.4g} at step {step}", **ring)
        if name in real:
            axis.axhline(real[name], color="grey", linestyle="--", linewidth=1, label=f"real images: {real[name]:.4g}")
        axis.legend(fontsize=7, frameon=False)
        axis.set_title(name, fontsize=8)
        axis.locator_params(axis="x", integer=True)
        axis.ticklabel_format(useOffset=False)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("step", fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    replace(path, drawn.getvalue())


def _panel(axis: Any, name: str, values: Sequence[float], colour: str) -> None:
    first = values[0] or 1.0  # of a weight that is zero
    heights = [(value / first) ** 2 for value in values]
    axis.plot(range(1, len(values) + 1), heights, color=colour, linewidth=1.5, marker="o" if len(values) == 1 else None)
    axis.fill_between(range(1, len(values) + 1), heights, color=colour, alpha=0.15, linewidth=0)
    axis.set_title(rf"{name}   $\sigma_1$ = {values[0]:#.3g}", fontsize=8)
    axis.set_ylim(0.0, 1.05)
    axis.set_xlim(1 if len(values) > 1 else 0, max(len(values), 2))
    axis.locator_params(axis="x", integer=True, nbins=5)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
