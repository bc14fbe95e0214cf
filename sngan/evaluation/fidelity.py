"""The arithmetic of scores, which is torch-fidelity's or equals it: features of images, their distances, the Inception score.

What the scores during training need is written out here: importing torch-fidelity takes a second, in each process that starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sngan.data.images import as_rgb
from sngan.precision import precision

BLOCK = 2_000
"""Rows of a matrix of distances that are in memory at once."""

Statistics = dict[str, NDArray[np.floating]]
"""`mu` [F] and `sigma` [F, F], the mean and the covariance of features; `root` [F, F], where it is known, the root of `sigma`."""


@dataclass(frozen=True)
class Features:
    """The outputs of an extractor for N images, float32 on the CPU."""

    features: Tensor
    """[N, F]"""
    logits: Tensor
    """[N, K]"""


def extract(images: Iterable[Tensor], network: nn.Module, device: torch.device | str) -> Features:
    """One pass of batches uint8 [B, C, H, W] in 0..255 through a loaded extractor; shown to it by `as_rgb`.

    The pass is strict float32, whatever the program around it chose: TF32 and autocast are off in it.
    """
    device = torch.device(device)
    batches = []
    for x in images:
        assert (x.dtype, x.dim()) == (torch.uint8, 4), (x.dtype, x.shape)
        with torch.no_grad(), precision("fp32", device):
            features, logits = network(as_rgb(x.to(device)))
        batches.append((features.cpu(), logits.cpu()))
    assert batches, "no images"
    return Features(*map(torch.cat, zip(*batches, strict=True)))


def statistics(features: Tensor) -> Statistics:
    """The statistics of features [N, F], N >= 2."""
    assert len(features) >= 2, features.shape
    rows = features.numpy()
    return {"mu": rows.mean(axis=0), "sigma": np.cov(rows, rowvar=False)}


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """|mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)) (Heusel et al. 2017, eq. 6), in float64.

    It is biased upwards for few samples, so only distances of equal N are comparable. N < F, with a singular covariance, is allowed.
    """
    root = second["root"] if "root" in second else square_root(second["sigma"])
    # sigma1 sigma2 has the eigenvalues of this matrix, which is symmetric: they are real, and cost less
    eigenvalues = np.linalg.eigvalsh(root @ first["sigma"] @ root)
    trace = np.sqrt(_without_noise(eigenvalues)).sum()
    mean = np.square(first["mu"].astype(np.float64) - second["mu"]).sum()
    return float(mean + np.trace(first["sigma"]) + np.trace(second["sigma"]) - 2.0 * trace)


def square_root(sigma: NDArray[np.floating]) -> NDArray[np.floating]:
    """The symmetric root of a covariance [F, F]."""
    eigenvalues, vectors = np.linalg.eigh(sigma)
    root: NDArray[np.floating] = (vectors * np.sqrt(_without_noise(eigenvalues))) @ vectors.T
    return root


def _without_noise(eigenvalues: NDArray[np.floating]) -> NDArray[np.floating]:
    """The eigenvalues, in ascending order, of a matrix that has none below 0 except by rounding.

    In a singular matrix rounding turns zeros into positive and negative values of the same size; all of that size are set to 0.
    """
    return np.where(eigenvalues > -eigenvalues[0], eigenvalues, 0.0)


def inception_score(logits: Tensor, *, splits: int, seed: int = 2020) -> tuple[float, float]:
    """exp(E KL(p(y|x) || p(y))) (Salimans et al. 2016): mean and deviation over `splits` parts of the samples.

    `logits` [N, K], N >= splits. The samples are shuffled first, by default with the seed of torch-fidelity's command line, which
    then gives the same number.
    """
    N = len(logits)
    assert splits <= N, (logits.shape, splits)
    shuffled = logits[np.random.RandomState(seed).permutation(N)].double()
    p, log_p = shuffled.softmax(1), shuffled.log_softmax(1)
    scores = []
    for part in (slice(i * N // splits, (i + 1) * N // splits) for i in range(splits)):
        log_marginal = p[part].mean(0, keepdim=True).log()
        scores.append((p[part] * (log_p[part] - log_marginal)).sum(1).mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))


CONFIDENCE = 0.9


def recognised(logits: Tensor) -> float:
    """The share of samples, logits [N, K], to which the classifier gives one class with a probability of `CONFIDENCE` or more.

    1 for images such as it was trained on; it says nothing of their variety.
    """
    return (logits.double().softmax(1).amax(1) >= CONFIDENCE).double().mean().item()


KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
"""As in torch-fidelity; smaller subsets where there are fewer images."""


def kernel_distance(first: Tensor, second: Tensor, *, seed: int = 2020) -> tuple[float, float]:
    """The squared maximum mean discrepancy under a cubic kernel (Binkowski et al. 2018): mean and deviation over random subsets.

    Features [N, F] and [M, F]. Unbiased, so that it may be a little below 0, and does not depend on N. The seed is torch-fidelity's.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(KID_SUBSET_SIZE, len(first), len(second))
    score = kid_features_to_metric(first, second, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=seed, verbose=False)
    return score[KEY_METRIC_KID_MEAN], score[KEY_METRIC_KID_STD]


def precision_recall(samples: Tensor, reference: Tensor, *, neighbours: int) -> tuple[float, float]:
    """How many samples lie among the real images, and how many real images among the samples (Kynkäänniemi et al. 2019).

    Features [N, F] and [M, F]; among: nearer to one of them than its k-th neighbour is. In float64, because distances are taken
    from squared norms, beside which float32 loses small ones. Taken in blocks, 1.3 GB at 10,000 images of 2048 features.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    score = prc_features_to_metric(
        samples.double(), reference.double(), prc_neighborhood=neighbours, prc_batch_size=BLOCK, save_cpu_ram=True, verbose=False
    )
    return score[KEY_METRIC_PRECISION], score[KEY_METRIC_RECALL]
