"""A layer's weight as a matrix, and back."""

from __future__ import annotations

from torch import Tensor, nn

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weight as the matrix that is normalised, [out, kh * kw * in]; for an embedding [classes, features].

    The paper writes [out, in * kh * kw]. The order of the columns does not change the singular values, and in this order the matrix is a
    view of a channels_last weight.
    """
    rows = weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else weight  # [out, in, kh, kw]
    return rows.movedim(1, -1).flatten(1)


def unmatrix(layer: nn.Module, flat: Tensor) -> Tensor:
    """The inverse of `matrix`, from the matrix's numbers [out * kh * kw * in] to the shape of the layer's weight."""
    shape = layer.get_parameter("weight").shape
    if isinstance(layer, TRANSPOSED):
        return flat.view(shape[1], *shape[2:], shape[0]).movedim(-1, 1).transpose(0, 1)
    return flat.view(shape[0], *shape[2:], *shape[1:2]).movedim(-1, 1)
