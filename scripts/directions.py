"""Three training steps of every kind of game there is, beside those of a reference, and a record of how the updates agree.

    python scripts/directions.py                   # the whole product of choices, a day on one core
    python scripts/directions.py --seconds 600     # as many as fit; the games are in an order of chance, always the same one
    python scripts/directions.py --only 17         # one game, by its number

The choices are those of tests/reference_step.py, and so is the reference. Each update is compared by direction and by length, tensor by
tensor, in float64, where it should be the reference's but for rounding. The record is replaced every hundred games, and a run goes on from it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from record_head import head

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from composer import Composer  # noqa: E402
from reference_step import ASIDE, AXES, compared, every_game, flat, game_of  # noqa: E402

from sngan import Config  # noqa: E402
from sngan.files import read_json, write_json  # noqa: E402
from sngan.training.combinations import check_combination  # noqa: E402
from sngan.training.step import train_step  # noqa: E402

EXACT = 1 - 1e-8
"""The least cosine of a game in which nothing but rounding differs."""

TRIES = (0, 50, 100)
"""First steps whose inputs a game is given until it is exact: where an activation lies so near 0 that rounding chooses its side of a ReLU's
kink, two right steps differ by its part of the gradient, and on other inputs do not. A game that is never exact has failed. Games in which the
loss is so flat that a network does not move are counted, as they show nothing of that network's direction."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "directions.json", metavar="FILE")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--only", type=int, metavar="N")
    args = parser.parse_args()
    torch.set_num_threads(1)
    games = list(enumerate(every_game()))
    random.Random(0).shuffle(games)
    composer = Composer(ASIDE, (choice for choices in AXES.values() for choice in choices))
    if args.only is not None:
        choices = dict(games)[args.only]
        print("\n".join([" ".join(flat(choices)), *map(str, directions(composer(choices)))]))
        return 0
    record = read_json(args.out)
    if not record or record["games"] != len(games):  # of other choices: begun anew
        record = {"played": 0, "cosine": 1.0, "ratio": 0.0, "error": 0.0, "failed": [], "again": [], "still": []}
    until = time.monotonic() + args.seconds
    for place in range(record["played"], len(games)):
        number, choices = games[place]
        config = composer(choices)
        for first in TRIES:
            found = directions(config, first)
            cosine = min(d.cosine for d in found)
            if cosine > EXACT:
                break
            record["again"].append({"game": number, "first": first, "cosine": cosine})
        if any(all(d.cosine == 1.0 and d.error == 0.0 for d in found if d.name.startswith(network)) for network in ("G.", "D.")):
            record["still"].append(number)
        ratio, error = max(abs(d.ratio - 1) for d in found), max(d.error for d in found)
        if not cosine > EXACT:
            record["failed"].append({"game": number, "words": flat(choices), "cosine": cosine})
        record |= {
            "played": place + 1,
            "cosine": min(record["cosine"], cosine),
            "ratio": max(record["ratio"], ratio),
            "error": max(record["error"], error),
        }
        if (place + 1) % 100 == 0 or place + 1 == len(games) or time.monotonic() > until:
            write_json(args.out, about(len(games)) | record)
            print(
                f"{place + 1} of {len(games)}: cosine {record['cosine']:.12f}, {len(record['again'])} again, {len(record['failed'])} failed",
                flush=True,
            )
            if time.monotonic() > until:
                break
    return 1 if record["failed"] else 0


def directions(config: Config, first: int = 0) -> Sequence[Any]:
    """The comparison of each tensor over three steps of a game."""
    check_combination(config)
    return compared(config, lambda state, batch: train_step(state, game_of(config), batch), first=first)


def about(n: int) -> dict[str, Any]:
    """What the record says of itself."""
    return {
        **head(
            "directions.py",
            "three steps in float64, eager: the least cosine, the largest relative difference of lengths, the largest error of all tensors",
        ),
        "games": n,
    }


if __name__ == "__main__":
    sys.exit(main())
