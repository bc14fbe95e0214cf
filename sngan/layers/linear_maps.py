"""A weight W as the linear map whose norm is meant: the paper's matrix (or a matrix for each of its blocks), or the convolution itself.

Both say how the map and its adjoint act, and that is all that power iteration needs. `u` is an output of the map and `v` an input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sngan.errors import UserError

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d | TRANSPOSED


def output_dimension(layer: nn.Module) -> int:
    """The dimension of a layer's weight that counts its outputs: 1 for a transposed convolution [in, out, kh, kw], else 0."""
    return 1 if isinstance(layer, TRANSPOSED) else 0


def matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weight as the matrix that is normalised, [out, kh * kw * in]; for an embedding [classes, features]."""
    return Matrices(output_dimension(layer), channels_last=True).matrix(weight)


class LinearMap(Protocol):
    """How a weight W acts: `forward` and `adjoint`, with <u, forward(W, v)> = <adjoint(W, u), v>."""

    @property
    def blocks(self) -> int:
        """Into how many equal parts of its first dimension W is split; each is a map of its own, with its own sigma."""

    def forward(self, W: Tensor, v: Tensor) -> Tensor:
        """W v."""

    def adjoint(self, W: Tensor, u: Tensor) -> Tensor:
        """W^T u."""

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b> of two outputs or of two inputs: a scalar, or [blocks]."""

    def length(self, x: Tensor) -> Tensor:
        """|x| of an output or an input: a number that divides it, for each block."""

    def start(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """A random unit u, always the same for a shape, and a v of zeros, like W in type and device."""


class Weight(Protocol):
    """A weight with its singular vectors: W and how it acts, and u and v, which are changed only in place."""

    @property
    def W(self) -> Tensor:
        """The weight, as the layer has it."""

    @property
    def u(self) -> Tensor:
        """An output of the map, of length 1: [out] for a matrix."""

    @property
    def v(self) -> Tensor:
        """An input of the map, of length 1: [kh * kw * in] for a matrix."""

    @property
    def map(self) -> LinearMap:
        """W as a linear map."""


@dataclass(frozen=True)
class Matrices:
    """W as the matrix that the paper normalises, [out, in * kh * kw], or as a matrix for each of its blocks, [blocks, out, in * kh * kw].

    `dim` is the dimension of the outputs: 1 for a transposed convolution, whose weight is [in, out, kh, kw], else 0. The columns are in
    the order [in, kh, kw], or [kh, kw, in] if they are `channels_last`, which makes the matrix a view of a weight in that memory format;
    the singular values are the same. u is [out] and v [columns], with a first dimension [blocks] where there are several.
    """

    dim: int = 0
    blocks: int = 1
    channels_last: bool = False

    def matrix(self, W: Tensor) -> Tensor:
        """[out, columns], or [blocks, out, columns]."""
        if self.blocks == 1:  # the fewest views, as they take longer than a small product
            rows = W.movedim(self.dim, 0) if self.dim else W  # [out, in, kh, kw]
            if W.dim() == 2:
                return rows
            return (rows.movedim(1, -1) if self.channels_last else rows).flatten(1)
        split = self.split(W).movedim(self.dim + 1, 1)  # [blocks, out, in, kh, kw]
        M: Tensor = (split.movedim(2, -1) if self.channels_last else split).flatten(2)
        return M

    def unmatrix(self, M: Tensor, shape: torch.Size) -> Tensor:
        """The inverse of `matrix`, from its numbers to a weight of this shape."""
        rest = [shape[0] // self.blocks, *shape[1:]]
        out = rest.pop(self.dim)
        order = [*rest[1:], rest[0]] if self.channels_last else rest
        if self.blocks == 1:  # without a dimension of size 1, whose stride would differ from a weight's: some gradients mind
            if len(shape) == 2:
                return M.view(out, -1).movedim(0, self.dim)
            split = M.reshape(out, *order)
            return (split.movedim(-1, 1) if self.channels_last else split).movedim(0, self.dim)
        split = M.reshape(self.blocks, out, *order)
        return (split.movedim(-1, 2) if self.channels_last else split).movedim(1, self.dim + 1).flatten(0, 1)

    def forward(self, W: Tensor, v: Tensor) -> Tensor:
        """W v, [out]."""
        return _product(self.matrix(W), v)

    def adjoint(self, W: Tensor, u: Tensor) -> Tensor:
        """W^T u (the conjugate transpose of a complex W), [columns]."""
        return _product(self.matrix(W).mH, u)

    def split(self, W: Tensor) -> Tensor:
        """A weight, or its gradient, with a first dimension [blocks]."""
        parts: Tensor = W.unflatten(0, (self.blocks, -1))
        return parts

    def factors(self, u: Tensor, v: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """u and v as tensors that broadcast: their product is u v^T, the gradient of <u, W v> by W, as `split` gives it for a W of this shape."""
        rest = [shape[0] // self.blocks, *shape[1:]]
        ones = [1] * len(rest)
        ones[self.dim] = rest.pop(self.dim)
        order = [*rest[1:], rest[0]] if self.channels_last else rest
        columns = v.view(self.blocks, *order)
        return u.view(self.blocks, *ones), (columns.movedim(-1, 1) if self.channels_last else columns).unsqueeze(self.dim + 1)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b>, for each block."""
        product: Tensor = torch.linalg.vecdot(a, b)
        return product

    def length(self, x: Tensor) -> Tensor:
        """|x|, a scalar or [blocks, 1]."""
        length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True) if self.blocks > 1 else torch.linalg.vector_norm(x)
        return length

    def start(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """u [out] and v [columns], for each block."""
        M = self.matrix(W)
        u = torch.randn(M.shape[:-1], generator=torch.Generator().manual_seed(0))
        return (u / self.length(u)).to(M), torch.zeros_like(M[..., 0, :])


@dataclass(frozen=True)
class Convolution:
    """W as the convolution that it makes on maps of one size, with zero padding, stride, dilation and groups: the layer without its bias.

    Its norm is what the layer stretches an input by at most, which the paper's matrix only estimates: with stride 1 it lies between the
    matrix's sigma / sqrt(kh * kw) and sigma * sqrt(kh * kw) (Tsuzuku et al. 2018). v is an input [in, H, W] and u an output [out, H', W'].
    """

    size: tuple[int, ...]
    inputs: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    output_padding: tuple[int, ...]
    blocks: int = 1

    @classmethod
    def of(cls, layer: Any, size: tuple[int, ...]) -> Convolution:
        """The map of a convolution, or transposed convolution, on inputs [in, *size]; raises `UserError` for other padding than zeros."""
        assert isinstance(layer, CONVOLUTIONS)
        padding: Any = layer.padding
        if padding == "valid":
            padding = (0,) * len(size)
        elif padding == "same":
            padding = tuple(d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
            if any(d * (k - 1) % 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)):
                raise UserError(
                    "norm=map: padding=same with an even kernel pads one side more; give the padding in numbers, or norm=matrix"
                )
        if layer.padding_mode != "zeros":
            raise UserError(
                f"norm=map: it is for zero padding, not padding_mode={layer.padding_mode}; use norm=matrix, or exclude the layer"
            )
        transposed = isinstance(layer, TRANSPOSED)
        return cls(
            tuple(size),
            layer.in_channels,
            layer.stride,
            padding,
            layer.dilation,
            layer.groups,
            transposed,
            layer.output_padding,
        )

    def forward(self, W: Tensor, v: Tensor) -> Tensor:
        """The layer's output for v, without the bias."""
        return torch.convolution(v[None], W, None, *self._geometry)[0]

    def adjoint(self, W: Tensor, u: Tensor) -> Tensor:
        """The gradient of <u, forward(W, v)> by v."""
        v = W.new_zeros(self.inputs, *self.size)
        by_input = [True, False, False]
        gradient: Tensor = torch.ops.aten.convolution_backward(u[None], v[None], W, None, *self._geometry, by_input)[0][0]
        return gradient

    @property
    def _geometry(self) -> tuple[Any, ...]:
        """What torch's convolution and its gradient take after the weight, in their order."""
        return self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b>, a scalar."""
        return torch.dot(a.flatten(), b.flatten())

    def length(self, x: Tensor) -> Tensor:
        """|x|, a scalar."""
        length: Tensor = torch.linalg.vector_norm(x)
        return length

    def start(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """u [out, H', W'] and v [in, H, W]."""
        v = torch.zeros(self.inputs, *self.size).to(W)
        u = torch.randn(self.forward(W, v).shape, generator=torch.Generator().manual_seed(0))
        return (u / self.length(u)).to(W), v


def _product(M: Tensor, x: Tensor) -> Tensor:
    return torch.mv(M, x) if M.dim() == 2 else torch.bmm(M, x.unsqueeze(-1)).squeeze(-1)
