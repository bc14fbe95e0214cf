"""What each rounding of samples costs a perfect generator: dequantised real images stand in the place of its samples.

    python scripts/measure_rounding.py data=npz data.path=FILE extractor=small_resnet extractor.weights=FILE
    python scripts/measure_rounding.py --n 1000 data=shapes           # only shown unless --out is given

changed             the share of pixel values that are not the image's own
from_themselves     the Fréchet distance of the first n training images, dequantised and rounded, from themselves
test_against_train  that of the first n test images, dequantised and rounded, from all training images

Data set and extractor are chosen as in `sngan train`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

import sngan
from sngan import devices
from sngan.data.batches import to_float
from sngan.data.images import Source
from sngan.data.reading import read_all
from sngan.errors import UserError
from sngan.evaluation import fidelity
from sngan.evaluation.score import Scorer
from sngan.files import write_json
from sngan.provenance import commit, versions
from sngan.randomness import DEQUANTIZE, generator
from sngan.sampling.rounding import FORMULAS, quantize


def main() -> None:
    args = arguments()
    if args.out and not args.out.absolute().parent.is_dir():
        raise UserError(f"--out={args.out}: its folder does not exist; make it first")
    config = sngan.compose(args.overrides)
    device = devices.resolve(config.device)
    source: Source = sngan.build("data", config.data)
    scorer = Scorer(config.extractor, source, device, options={}, workers=config.data.workers)
    train, test = (first_images(scorer, split, args.n, workers=config.data.workers) for split in ("train", "test"))
    features = scorer.features("train").features
    whole, part = fidelity.statistics(features), fidelity.statistics(features[: len(train)])

    def distance(pixels: Tensor, reference: fidelity.Statistics) -> float:
        return fidelity.frechet_distance(fidelity.statistics(scorer.look(pixels).features), reference)

    record: dict[str, Any] = {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", "scripts/measure_rounding.py", *sys.argv[1:]]),
        "commit": commit(),
        "device": devices.describe(device),
        "versions": versions(),
        "data": {"name": source.name, "n_train": len(features), "sha256": scorer.content("train")},
        "extractor": {"label": scorer.extractor.label, "sha256": scorer.extractor.sha256},
        "n": {"from_themselves": len(train), "test_against_train": len(test)},
        "unchanged": {"from_themselves": distance(train, part), "test_against_train": distance(test, whole)},
    }
    for rounding in FORMULAS:
        shown_train, shown_test = (
            quantize(to_float(pixels, generator("cpu", args.seed, DEQUANTIZE)), rounding) for pixels in (train, test)
        )
        record[rounding] = {
            "changed": (shown_train != train).float().mean().item(),
            "from_themselves": distance(shown_train, part),
            "test_against_train": distance(shown_test, whole),
        }
        print(f"{rounding}: {json.dumps(record[rounding])}", flush=True)
    print(f"unchanged: {json.dumps(record['unchanged'])}")
    if args.out:
        write_json(args.out, record)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="data set, extractor and device")
    parser.add_argument("--n", type=int, default=10_000, help="images of each split")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_intermixed_args()


def first_images(scorer: Scorer, split: Any, n: int, *, workers: int) -> Tensor:
    """uint8 [<= n, C, H, W]."""
    return read_all(scorer.images(split), scorer.source.spec, workers=workers).pixels[:n]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
