"""What is usual of each number, what is wrong, and what to change.

`usual` holds what healthy runs have, and runs that are sick are outside of `possible`: both were trained here, and
`scripts/results/doctor.json` has their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Verdict = Literal["fine", "look", "wrong", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("not measured", "fine", "look", "wrong")
"""From the least to the gravest."""


class Check(NamedTuple):
    """A number that is looked at. It is fine within `usual`, wrong outside of `possible`, and between them to be looked at."""

    title: str
    usual: tuple[float, float]
    possible: tuple[float, float]
    low: str
    """What a number below the usual means, and what to change; likewise `high`."""
    high: str
    is_share: bool = False
    """Whether it is shown in per cent."""


STEEP = "discriminator.normalization=spectral, or regularizer=gradient_penalty or r1"
WON = "D has won: lower optimizer.d.lr or d_steps, or use discriminator.normalization=spectral"

CHECKS = {
    "not_finite": Check(
        "losses that were NaN or infinite",
        (0, 0),
        (0, 0),
        "",
        "the run diverged: lower optimizer.lr, or use another loss or precision=fp32",
    ),
    "logits": Check(
        "largest of D's mean logits",
        (0.0, 100.0),
        (0.0, 1000.0),
        "",
        f"D's logits ran away: lower optimizer.d.lr, or use {STEEP}",
    ),
    "logit_growth": Check(
        "growth of D's logits",
        (0.0, 5.0),
        (0.0, 30.0),
        "",
        f"D's logits still run away: lower optimizer.d.lr, or use {STEEP}",
    ),
    "lead": Check(
        "lead of training images over samples",
        (0.2, 10.0),
        (0.0, 50.0),
        "D does not tell them apart: lower optimizer.d.lr, raise d_steps, or use a larger D",
        WON,
    ),
    "overfitting": Check(
        "overfitting of D",
        (0.0, 0.25),
        (-math.inf, 0.5),
        "D prefers held-out images: they differ from the training images, which data=… names",
        "D knows the training images by heart: more images, data.flip=true, regularizer=lecam, a smaller D, or fewer steps",
        is_share=True,
    ),
    "saturation": Check(
        "images D learns nothing from",
        (0.0, 0.9),
        (0.0, 0.99),
        "",
        WON,
        is_share=True,
    ),
    "gradient": Check(
        "gradient for G",
        (0.01, 10.0),
        (0.001, 100.0),
        f"the gradient vanishes; {WON}",
        f"D is too steep: use {STEEP}",
    ),
    "sigma_lag": Check(
        "lag of sigma in D",
        (0.0, 0.05),
        (0.0, 0.2),
        "",
        "power iteration does not follow: lower optimizer.lr, or use discriminator.power_iterations=2",
        is_share=True,
    ),
    "pixel_diversity": Check(
        "diversity of samples, pixels",
        (0.5, 1.5),
        (0.3, 3.0),
        "G has collapsed, or has just begun: lower optimizer.lr, raise d_steps, or use discriminator.normalization=spectral",
        "samples differ more than real images: train longer, or lower optimizer.g.lr",
        is_share=True,
    ),
    "feature_diversity": Check(
        "diversity of samples, features",
        (0.4, 1.5),
        (0.2, 3.0),
        "G has collapsed, or has just begun: lower optimizer.lr, raise d_steps, or use discriminator.normalization=spectral",
        "samples differ more than real images: train longer, or lower optimizer.g.lr",
        is_share=True,
    ),
    "copies": Check(
        "samples near a training image",
        (0.0, 0.05),
        (0.0, 0.2),
        "",
        "G repeats training images: more images, data.flip=true, a smaller G, or fewer steps",
        is_share=True,
    ),
}
"""By the names that `measures` gives them, in the order of the table."""


def finding(name: str, number: float | str) -> dict[str, Any]:
    """The verdict on a number, or the reason why it is not measured, as plain values."""
    check = CHECKS[name]
    found: dict[str, Any] = {"name": name, "title": check.title, "unit": "%" if check.is_share else "", "usual": list(check.usual)}
    if isinstance(number, str):
        return {**found, "value": None, "verdict": "not measured", "why": number}
    (low, high), (least, most) = check.usual, check.possible
    if low <= number <= high:
        return {**found, "value": number, "verdict": "fine", "why": None}
    is_wrong = not least <= number <= most  # also of NaN
    return {**found, "value": number, "verdict": "wrong" if is_wrong else "look", "why": check.low if number < low else check.high}


def findings(numbers: Mapping[str, float | str]) -> list[dict[str, Any]]:
    """A finding for each check; one without a number is not measured."""
    return [finding(name, numbers.get(name, "left out")) for name in CHECKS]


def gravest(found: list[dict[str, Any]]) -> Verdict:
    """The gravest verdict."""
    return max((one["verdict"] for one in found), key=VERDICTS.index)


def shown(value: float | None, found: Mapping[str, Any]) -> str:
    """A number of a finding, in its unit; '-' for one that is not measured."""
    if value is None:
        return "-"
    return f"{100 * value:.3g} %" if found["unit"] == "%" else f"{value:.3g}"
