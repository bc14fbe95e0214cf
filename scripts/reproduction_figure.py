"""Draws a table that `reproduce.py` has measured: a dot for each seed, a bar at each row's mean, the rows in the table's order.

python scripts/reproduction_figure.py table2_small --out scripts/results/reproduce_table2_small.png
"""

from __future__ import annotations

import argparse
import io
import statistics
from pathlib import Path

from reproduction_records import ROOT, Records, Table, tables

from sngan.errors import UserError
from sngan.files import replace


def main() -> None:
    known = tables()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=known)
    parser.add_argument("--results", type=Path, default=ROOT / "scripts" / "results")
    parser.add_argument("--out", type=Path, metavar="FILE", required=True)
    args = parser.parse_args()
    draw(known[args.table], Records(args.results / f"reproduce_{args.table}.json"), args.out)


def draw(table: Table, records: Records, out: Path) -> None:
    """A PNG with a panel for each score of the last checkpoints, as they were trained without further overrides."""
    from matplotlib.figure import Figure

    measured = {
        row.name: [s["last"] for run in records.variants(row).get("", []) for s in run["scores"].values()] for row in table.rows
    }
    names = sorted({name for scores in measured.values() for score in scores for name in score}, key=lambda name: "fd_" not in name)
    if not names:
        raise UserError(f"{records.path}: nothing is measured; run python scripts/reproduce.py {table.name}")
    figure = Figure(figsize=(4.2 * len(names), 0.3 * len(table.rows) + 0.8), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, names, strict=True):
        for place, scores in enumerate(measured.values()):
            values = [score[name] for score in scores if name in score]
            panel.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.6, markersize=5)
            if values:
                panel.plot(statistics.fmean(values), place, "|", color="black", markersize=14, markeredgewidth=2)
        panel.set_title(name, fontsize=9, family="monospace")
        panel.set_xlim(left=0)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(labelsize=8, left=False)
    panels[0].set_yticks(range(len(measured)), measured)
    panels[0].invert_yaxis()
    png = io.BytesIO()
    figure.savefig(png, format="png")
    replace(out, png.getvalue())


if __name__ == "__main__":
    main()
