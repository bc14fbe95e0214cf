"""What earlier versions left on disk, read as this version would have written it; the files stay as they are.

sngan-checkpoint-4   in part of its time each rank always had batch statistics of its own, sigma was always of the matrix, a batch was never split,
                     both networks had the same rate and betas, and networks had fewer options
sngan-checkpoint-3   samples were always rounded to the nearest level
sngan-checkpoint-2   in part of its time there was one engine, a score was of one draw, and there was no precision and recall
"""

from __future__ import annotations

from typing import Any

FORMATS = ("sngan-checkpoint-3", "sngan-checkpoint-2")
"""The formats of checkpoints that differ from today's in the config alone."""

CONFIG = {
    "engine": "auto",
    "on_nan": "stop",
    "sync_batch_norm": False,
    "accumulate": 1,
    "g_orthogonal": None,
    "augment": {"name": "none"},
    "init": None,
    "init_networks": ["G", "D"],
    "freeze_d": 0,
}
NETWORK = {"norm_of": "matrix"}
DATA: dict[str, dict[str, Any]] = {
    "image_folder": {"channels": "auto", "fit": "crop", "range": None},
    "npz": {"layout": None, "range": None, "channels": "auto", "resolution": None, "fit": "crop", "renumber": True},
    "shapes": {"max_angle": 360},
}
"""By data set: what comes out the same, or is refused when the run goes on (`folder.check_data`): grey pictures had three channels, labels with
gaps were not numbered anew, and other files were taken."""
OPTIMIZER = {"decay_from": 0, "g": {"lr": None, "betas": None}, "d": {"lr": None, "betas": None}}
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("data", "image_folder"): {"cache": "auto"},
    ("data", "imagenet_folder"): {"cache": "auto"},
    ("generator", "resnet"): {"attention": None, "upsampling": "nearest"},
    ("discriminator", "cnn"): {"labels": "projection"},
    ("discriminator", "dcgan"): {"labels": "projection"},
    ("discriminator", "resnet"): {"labels": "projection", "attention": None, "init": "glorot", "shortcut": "input"},
}
PROTOCOL = {"rounding": "nearest", "draws": 1, "n_precision_recall": 10_000}
"""Keys that came later, with the values that say what was done before."""


def config(values: dict[str, Any]) -> dict[str, Any]:
    """A run's config."""
    later: dict[str, dict[str, Any]] = {
        "protocol": PROTOCOL,
        "quick": PROTOCOL,
        "generator": NETWORK,
        "discriminator": NETWORK,
        "optimizer": OPTIMIZER,
        "data": _of_data(values.get("data")),
    }
    return {**CONFIG, **{key: component(key, _with(later.get(key, {}), value)) for key, value in values.items()}}


def component(group: str, values: Any) -> Any:
    """A name and its options."""
    name = values.get("name") if isinstance(values, dict) else None
    return _with(OPTIONS.get((group, name), {}), values) if isinstance(name, str) else values


def record(line: dict[str, Any]) -> dict[str, Any]:
    """A line of `metrics.jsonl`."""
    found = {key: _with(PROTOCOL, value) if key == "protocol" else value for key, value in line.items()}
    reference = found.get("reference")
    if isinstance(reference, dict):
        options = reference.get("options")
        found["reference"] = {**reference, "options": _with(_of_data(options), options)}
    return found


def _of_data(options: Any) -> dict[str, Any]:
    return DATA.get(str(options.get("name")), {}) if isinstance(options, dict) else {}


def _with(later: dict[str, Any], values: Any) -> Any:
    return {**later, **values} if isinstance(values, dict) else values
