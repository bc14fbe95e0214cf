"""The arithmetic of scores, which is torch-fidelity's: features of images, their Fréchet distance, the Inception score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sngan.training.precision import precision

Statistics = dict[str, NDArray[np.floating]]
"""`mu` [F] and `sigma` [F, F], the mean and the covariance of features."""


@dataclass(frozen=True)
class Features:
    """What an extractor sees in N images, float32 on the CPU."""

    features: Tensor
    """[N, F]"""
    logits: Tensor
    """[N, K]"""


def extract(images: Iterable[Tensor], network: nn.Module, device: torch.device | str) -> Features:
    """One pass of batches uint8 [B, C, H, W] in 0..255 through a loaded extractor; a single channel is shown as grey.

    The pass is strict float32, whatever the program around it chose: TF32 and autocast are off in it.
    """
    device = torch.device(device)
    batches = []
    for x in images:
        assert (x.dtype, x.dim()) == (torch.uint8, 4), (x.dtype, x.shape)
        with torch.no_grad(), precision("fp32", device):
            features, logits = network(x.to(device).expand(-1, 3, -1, -1))
        batches.append((features.cpu(), logits.cpu()))
    assert batches, "no images"
    return Features(*map(torch.cat, zip(*batches, strict=True)))


def statistics(features: Tensor) -> Statistics:
    """Of features [N, F], N >= 2."""
    from torch_fidelity.metric_fid import fid_features_to_statistics

    assert len(features) >= 2, features.shape
    return fid_features_to_statistics(features)


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """|mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)) (Heusel et al. 2017, eq. 6).

    Few samples make it too large, so only distances of equal N compare. N < F, a singular covariance, is no error.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID]


def inception_score(logits: Tensor, *, splits: int, seed: int = 2020) -> tuple[float, float]:
    """exp(E KL(p(y|x) || p(y))) (Salimans et al. 2016): mean and deviation over so many parts of the samples.

    `logits` [N, K], N >= splits. The samples are shuffled first, by default with the seed of torch-fidelity's command line, which
    then gives the same number.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    assert len(logits) >= splits, (logits.shape, splits)
    score = isc_features_to_metric(logits, splits=splits, rng_seed=seed)
    return score[KEY_METRIC_ISC_MEAN], score[KEY_METRIC_ISC_STD]
