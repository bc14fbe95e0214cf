"""Exact singular values, of weight matrices and of convolutions as linear maps: slow, for inspection, never for training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sngan.layers.linear_maps import Matrices, Weight
from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import Bound, by_block, converge, sigma


@torch.no_grad()
def singular_values(W: Tensor) -> Tensor:
    """All singular values of a matrix, the largest first, float64 on the CPU."""
    values: Tensor = torch.linalg.svdvals(W.detach().double().cpu())
    return values


@torch.no_grad()
def largest_singular_value(W: Tensor) -> float:
    """sigma_1 of a matrix by the eigenvalues of its smaller Gram matrix, several times faster than by SVD, with a relative error of at most 1e-7."""
    W = W.detach().double().cpu()
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    return float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0.0).sqrt())


@torch.no_grad()
def exact_sigma(weight: Weight) -> Tensor:
    """sigma(W) exactly, a scalar or [blocks], float64: by decomposition, for a convolution's map by power iteration to 1e-6."""
    W = weight.W.detach().double()
    if isinstance(weight.map, Matrices):
        M = weight.map.matrix(W)
        values = [largest_singular_value(block) for block in (M if M.dim() == 3 else M[None])]
        return torch.tensor(values if M.dim() == 3 else values[0], dtype=torch.float64)
    bound = Bound(W, weight.u.double(), weight.v.double(), weight.map)  # copies
    converge(bound, 1e-6, most=10_000)
    return sigma(bound)


def drift(module: Normalized[Any]) -> dict[str, float]:
    """The ratio of sigma by power iteration to its exact value, for each weight that tracks sigma; 1 if they agree."""
    if module.vectors is None:
        return {}
    sigmas, exact = module.sigmas(), by_block({name: exact_sigma(weight) for name, weight in module.vectors.weights.items()})
    return {name: float(sigmas[name]) / float(value) if value else math.nan for name, value in exact.items()}


def bound_of_chain(network: nn.Module, norms: Mapping[str, float]) -> float:
    """An upper bound on the Lipschitz constant of a chain of layers, from their norms as linear maps.

    It is the product of the norms; a leaky ReLU stretches by 1, or by its slope where that is larger.
    """
    stretches = [max(1.0, m.negative_slope) for m in network.modules() if isinstance(m, nn.LeakyReLU)]
    return math.prod(norms.values()) * math.prod(stretches)


@torch.no_grad()
def operator_norm(layer: nn.Module, weight: Tensor, size: tuple[int, int]) -> float:
    """The largest factor by which a layer with this weight stretches its input, exactly; biases do not matter.

    For a linear layer it is sigma_1, for an embedding the length of the longest row. For a convolution with circular padding on maps of
    `size` = (H, W) it is the largest singular value of the kernel's Fourier transform, an [out, in] matrix for each frequency (Sedghi,
    Gupta & Long 2019). With stride s each input channel is first split into s^2, one for each position in the window, on maps of
    size / s. A transposed convolution has the norm of the convolution that is its adjoint; `size` is then that of its output.
    """
    if isinstance(layer, nn.Embedding):
        return float(torch.linalg.vector_norm(weight.double(), dim=1).max())
    if weight.dim() == 2:
        return largest_singular_value(weight)
    assert weight.dim() == 4, "images only"
    module: Any = layer
    stride = module.stride[0]
    assert module.stride[0] == module.stride[1] and module.dilation == (1, 1) and module.groups == 1, "an ordinary convolution"
    assert size[0] % stride == size[1] % stride == 0, f"maps of {size} cannot be split by a stride of {stride}"
    kernel = (
        weight.detach().double().cpu()
    )  # [out, in, kh, kw], for a transposed convolution [in, out, kh, kw], its adjoint's kernel
    torus = torch.zeros(*kernel.shape[:2], *size, dtype=torch.float64)
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            torus[:, :, i % size[0], j % size[1]] += kernel[:, :, i, j]
    h, w = size[0] // stride, size[1] // stride
    phases = torus.view(*kernel.shape[:2], h, stride, w, stride).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)  # [out, in * s^2, h, w]
    spectrum = torch.fft.rfft2(phases).permute(2, 3, 0, 1)  # [h, w / 2 + 1, out, in * s^2]
    gram = spectrum @ spectrum.mH if spectrum.shape[2] <= spectrum.shape[3] else spectrum.mH @ spectrum
    return float(torch.linalg.eigvalsh(gram)[..., -1].max().clamp(min=0.0).sqrt())
