"""Trains healthy runs and runs that are sick, most of them on purpose, and records what `sngan doctor` measures on them.

    python scripts/doctor_runs.py                     # shapes: some twenty minutes on one core
    python scripts/doctor_runs.py --cifar10 cifar10.npz --extractor cifar10_resnet20.safetensors    # and miniatures on CIFAR-10

`sngan/doctor/checks.py` has its limits from this record, and a test compares them with it. Runs that are finished are not trained again, and
runs that are recorded and not asked for stay in the record.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from record_head import head

import sngan
from sngan.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
QUIET = ["protocol=none", "evaluate_every=0", "sample_every=0"]
SHAPES = ["steps=800", "log_every=20", "save_every=400"]
FREE = ["discriminator.normalization=none"]
HEALTHY = {
    "shapes_hinge": SHAPES,
    "shapes_bce": [*SHAPES, "loss=bce"],
    "shapes_wgan_gp": [*SHAPES, *FREE, "loss=wasserstein", "regularizer=gradient_penalty"],
}
HEALTHY_CIFAR10 = {
    "cifar10_hinge": [
        "experiment=table2_small_cnn",
        "constraint=spectral_norm_hinge",
        "steps=1500",
        "log_every=50",
        "save_every=500",
    ],
    "cifar10_wgan_gp": [*SHAPES[1:], *FREE, "loss=wasserstein", "regularizer=gradient_penalty", "d_steps=5", "steps=400"],
}
SICK_CIFAR10 = {  # not on purpose: with one update a step D is behind G; in the miniature it is constant, and the penalty stays at its weight
    "cifar10_slow_D": [*SHAPES, *FREE, "loss=wasserstein", "regularizer=gradient_penalty"],
    "cifar10_constant_D": ["experiment=table2_small_cnn", "constraint=wgan_gp", "steps=1500", "log_every=50", "save_every=500"],
}
SICK = {
    "shapes_lr_100": [*SHAPES, "optimizer.lr=0.1"],
    "shapes_no_constraint": [*SHAPES, *FREE, "loss=wasserstein"],
    "shapes_50_images": [*SHAPES[1:], *FREE, "loss=bce", "steps=1600", "data.n_train=50"],
    "shapes_collapsed": [*SHAPES, "optimizer.g.lr=0.01", "optimizer.d.lr=1e-5"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="names of runs")
    parser.add_argument("--folder", type=Path, default=Path("runs/doctor"), metavar="DIR")
    parser.add_argument("--cifar10", type=Path, metavar="FILE", help="an archive as data=npz reads it")
    parser.add_argument("--extractor", type=Path, metavar="FILE", help="weights for its features")
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "doctor.json", metavar="FILE")
    args = parser.parse_args()
    runs = {**HEALTHY, **SICK}
    if args.cifar10:
        data = ["data=npz", f"data.path={args.cifar10}", "extractor=small_resnet", f"extractor.weights={args.extractor}"]
        runs |= {name: [*words, *data] for name, words in {**HEALTHY_CIFAR10, **SICK_CIFAR10}.items()}
    unknown = set(args.only or ()) - set(runs)
    if unknown:
        raise sngan.UserError(f"--only {' '.join(sorted(unknown))}: the runs are {', '.join(runs)}")
    recorded = read_json(args.out)["runs"] if args.out.exists() else {}
    for name, words in runs.items():
        if args.only and name not in args.only:
            continue
        run = sngan.train(*QUIET, *words, run_dir=args.folder / name)
        found = run.doctor()
        recorded[name] = {
            "is_healthy": name not in {**SICK, **SICK_CIFAR10},
            "overrides": [*QUIET, *words],
            "seed": run.config.seed,
            "step": found["step"],
            "n": found["n"],
            "extractor": found["extractor"],
            "held_out": found["held_out"],
            "numbers": {one["name"]: one["why"] if one["value"] is None else one["value"] for one in found["findings"]},
        }
        what = "what sngan doctor measures on runs that are healthy, and on runs that are sick; one seed each"
        write_json(args.out, {**head("doctor_runs.py", what), "runs": recorded})
        print(f"{name}: {found['verdict']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
