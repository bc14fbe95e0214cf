"""The warning of a generator that copies its training images, where they are so few that this is common."""

from __future__ import annotations

import logging

from torch import Tensor

from sngan.evaluation.neighbours import nearer_than_real, neighbours
from sngan.evaluation.score import Scorer

N_SAMPLES = 100
"""Samples that a run looks at when it ends."""

MOST_TRAIN = 10_000
"""Training images up to which a run looks for copies: with more they are rarer, and looking costs time."""

MOST = 0.1
"""Of samples, as near to a training image as 1 % of real images are: ten times their share."""

log = logging.getLogger(__name__)


def warn_of_copies(scorer: Scorer, samples: Tensor) -> float | None:
    """The share of samples uint8 [N, C, H, W] that are nearer to a training image than 1 % of real images are; warns where it is large.

    None, and nothing is looked at, with more than `MOST_TRAIN` training images or too few to compare with.
    """
    if not 2 < scorer.source.count("train") <= MOST_TRAIN:
        return None
    found = neighbours(scorer, samples, n_shown=0)
    nearer = nearer_than_real(found)
    if nearer is None:
        return None
    share = nearer[1]
    if share > MOST:
        log.warning(
            f"{share:.0%} of {len(samples)} samples are nearer to a training image than 1 % of {found.held_out} are: the generator copies; "
            "sngan report shows them; try augment=diffaugment, more pictures, or an earlier checkpoint"
        )
    return share
