"""Every combination of networks, losses, regularisers, norms, labels and images builds and trains a step, or is refused with its reason.

    python scripts/cross_product.py                  # until ten minutes are over
    python scripts/cross_product.py --seconds 60

The product is too large to be trained whole, so games are drawn from it by chance, always in the same order. The record counts what was
trained, what was refused by which reason, and how many pairs and triples of choices were met. What is neither trained nor refused in one
or two lines is listed with its error, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from record_head import head

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from games import AXES, Games, drawn, kind_of, words  # noqa: E402

from sngan.files import write_json  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "cross_product.json", metavar="FILE")
    parser.add_argument("--seconds", type=float, default=600, help="stop after so many")
    args = parser.parse_args()
    torch.set_num_threads(1)
    games, numbers, began = Games(), random.Random(0), time.process_time()
    trained, reasons, failed = 0, Counter[str](), []
    met: dict[int, set[tuple[tuple[int, int], ...]]] = {2: set(), 3: set()}
    until = time.monotonic() + args.seconds
    while time.monotonic() < until:
        choice = drawn(numbers)
        try:
            reason = games.play(choice)
        except Exception as error:
            failed.append({"words": words(choice), "error": f"{type(error).__name__}: {error}"[:500]})
            continue
        if reason is None:
            trained += 1
            for n, found in met.items():
                found.update(itertools.combinations(enumerate(choice), n))
        else:
            reasons[kind_of(reason)] += 1
    sizes = [len(choices) for choices in AXES.values()]
    record = {
        **head(
            "cross_product.py",
            "games drawn by chance, seed 0: one training step of batch 4, widths 4 to 8, finite statistics and weights; still: a flat loss",
        ),
        "axes": {axis: [" ".join(choice) for choice in choices] for axis, choices in AXES.items()},
        "product": math.prod(sizes),
        "played": trained + reasons.total() + len(failed),
        "trained": trained,
        "still": dict(games.still),
        "refused": reasons.total(),
        "refused_by_reason": dict(reasons.most_common()),
        "pairs_trained": [len(met[2]), _combinations(sizes, 2)],
        "triples_trained": [len(met[3]), _combinations(sizes, 3)],
        "failed": failed,
        "cpu_s": round(time.process_time() - began, 1),
    }
    write_json(args.out, record)
    print(f"{trained} trained, {reasons.total()} refused for {len(reasons)} reasons, {len(failed)} failed of {record['product']:,}")
    for game in failed[:20]:
        print(f"  {' '.join(game['words'])}: {game['error']}")
    return 1 if failed else 0


def _combinations(sizes: list[int], n: int) -> int:
    return sum(math.prod(chosen) for chosen in itertools.combinations(sizes, n))


if __name__ == "__main__":
    sys.exit(main())
