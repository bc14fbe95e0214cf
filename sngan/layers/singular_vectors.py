"""The largest singular value of every weight matrix of a network, followed by power iteration, all layers together.

One iteration for a matrix W, from the u of the iteration before (paper Algorithm 1):

    v <- W^T u / |W^T u|,    u <- W v / |W v|,    sigma = u^T W v = |W v|

On a GPU, where the number of kernels is the cost and not their size, layers are padded with zeros to one shape and advanced as one batch
of matrices; layers whose shapes differ too much make batches of their own. On a CPU, where moving numbers is the cost, each layer does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WARMUP_ITERATIONS = 100
"""A random u is far from the top singular vector; so many iterations bring sigma of every initial weight of the paper's networks within
1 % of its exact value (15, the usual number, within 6 %)."""

MOST_PADDING = 2.0
"""The batches may hold this many times the numbers of the layers themselves."""

ALONE_ON = frozenset({"cpu"})
"""Kinds of device on which each layer is a batch of its own."""

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weight as the matrix whose norm is meant, [out, kh * kw * in]; for an embedding [classes, features].

    The paper writes [out, in * kh * kw]: the singular values do not know the order of the columns, and this one is a view of a
    channels_last weight.
    """
    rows = weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else weight  # [out, in, kh, kw]
    return rows.movedim(1, -1).flatten(1)


def unmatrix(layer: nn.Module, flat: Tensor) -> Tensor:
    """The inverse of `matrix`, from the matrix's numbers [out * kh * kw * in] to the shape of the layer's weight."""
    shape = layer.get_parameter("weight").shape
    if isinstance(layer, TRANSPOSED):
        return flat.view(shape[1], *shape[2:], shape[0]).movedim(-1, 1).transpose(0, 1)
    return flat.view(shape[0], *shape[2:], *shape[1:2]).movedim(-1, 1)


class SingularVectors:
    """Keeps buffers `u` [out] and `v` [kh * kw * in] on each layer, which are changed only in place.

    Building it warms them up from a fixed start, so that it depends on nobody's random numbers.
    """

    def __init__(self, layers: dict[str, Any]):
        self._layers = layers
        self._stacks: dict[bool, list[Stack]] = {}
        for layer in layers.values():
            W = matrix(layer, layer.weight.detach())
            u = torch.randn(len(W), generator=torch.Generator().manual_seed(0))
            layer.register_buffer("u", F.normalize(u, dim=0).to(W))
            layer.register_buffer("v", torch.zeros_like(W[0]))
        self.advance(WARMUP_ITERATIONS)

    @torch.no_grad()
    def advance(self, iterations: int = 1) -> None:
        """Power iterations of all layers, in place; in the parameters' own type, also under autocast."""
        for stack in self.stacks():
            weights = stack.weights()
            with torch.autocast(weights[0].device.type, enabled=False):
                stack.iterate(stack.pad(weights), iterations)

    def divided(self, *, iterations: int = 0) -> dict[str, Tensor]:
        """W / sigma(W) of each layer, by layer name, after so many power iterations; in the parameters' own type, also under autocast.

        Differentiable once, with u and v constant: dL/dW = (g - <g, W / sigma> u v^T) / sigma for g = dL/d(W / sigma) (paper eq. 12).
        """
        divided: dict[str, Tensor] = {}
        for stack in self.stacks():
            weights = stack.weights()
            with torch.no_grad(), torch.autocast(weights[0].device.type, enabled=False):
                S = stack.pad(weights)
                u, v, sigma = stack.iterate(S, iterations) if iterations else stack.current(S)
            divided.update(zip(stack.layers, _Divide.apply(stack, S, u, v, sigma, *weights), strict=True))
        return {name: divided[name] for name in self._layers}

    def sigmas(self) -> dict[str, Tensor]:
        """sigma = u^T W v of each layer with the u and v of now, a differentiable scalar by layer name; moves nothing."""
        return {name: torch.dot(layer.u, torch.mv(matrix(layer, layer.weight), layer.v)) for name, layer in self._layers.items()}

    def stacks(self) -> list[Stack]:
        """The layers in batches, as suits the device they are on."""
        named = list(self._layers.items())
        alone = named[0][1].weight.device.type in ALONE_ON
        if alone not in self._stacks:
            shapes = [matrix(layer, layer.weight).shape for _, layer in named]
            members = [[i] for i in range(len(named))] if alone else group(shapes)
            self._stacks[alone] = [Stack(dict(named[i] for i in stack)) for stack in members]
        return self._stacks[alone]


class Stack:
    """Some layers as one batch of L matrices [L, rows, columns], padded with zeros."""

    def __init__(self, layers: dict[str, Any]):
        self.layers = layers
        self.shapes = [tuple(matrix(layer, layer.weight).shape) for layer in layers.values()]
        self.sizes = [rows * columns for rows, columns in self.shapes]
        self.L, self.rows, self.columns = len(self.shapes), max(r for r, _ in self.shapes), max(c for _, c in self.shapes)
        self.is_padded = len(set(self.shapes)) > 1
        if self.is_padded:
            self._build_indices()

    def _build_indices(self) -> None:
        """Where each number of the padded batch comes from (the number after the last is the zero), and the way back."""
        size = sum(self.sizes)
        source = torch.full((self.L, self.rows, self.columns), size, dtype=torch.int32)
        rows, columns = torch.zeros(self.L, self.rows, dtype=torch.int32), torch.zeros(self.L, self.columns, dtype=torch.int32)
        at = row = column = 0
        for i, (r, c) in enumerate(self.shapes):
            source[i, :r, :c] = torch.arange(at, at + r * c, dtype=torch.int32).view(r, c)
            rows[i, :r] = torch.arange(row, row + r, dtype=torch.int32)
            columns[i, :c] = torch.arange(column, column + c, dtype=torch.int32)
            at, row, column = at + r * c, row + r, column + c
        source = source.flatten()
        back = torch.empty(size, dtype=torch.int32)
        inside = source < size
        back[source[inside].long()] = torch.arange(len(source), dtype=torch.int32)[inside]
        self._constants = {"source": source, "back": back, "u": rows.flatten(), "v": columns.flatten(), "zero": torch.zeros(1)}

    def weights(self) -> list[Tensor]:
        """The layers' parameters."""
        return [layer.weight for layer in self.layers.values()]

    def pad(self, weights: Sequence[Tensor]) -> Tensor:
        """Tensors of the weights' shapes as one batch [L, rows, columns]."""
        flat = [matrix(layer, weight).flatten() for layer, weight in zip(self.layers.values(), weights, strict=True)]
        if self.is_padded:
            numbers = torch.cat([*flat, self._constant("zero", flat[0])])
            return numbers.index_select(0, self._constant("source", numbers)).view(self.L, self.rows, self.columns)
        return (flat[0] if self.L == 1 else torch.cat(flat)).view(self.L, self.rows, self.columns)

    def unpad(self, S: Tensor) -> tuple[Tensor, ...]:
        """A batch [L, rows, columns] as tensors of the weights' shapes, which share its memory."""
        flat = S.flatten()
        if self.is_padded:
            flat = flat.index_select(0, self._constant("back", S))
        return tuple(unmatrix(layer, part) for layer, part in zip(self.layers.values(), flat.split(self.sizes), strict=True))

    def current(self, S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u [L, rows, 1], v [L, columns, 1] and sigma [L, 1, 1] of a batch of weights, as they are; copies, which no later iteration changes."""
        u, v = self._vectors("u", self.rows), self._vectors("v", self.columns)
        return u, v, u.mT @ (S @ v)

    def iterate(self, S: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same after so many power iterations, which the layers' buffers take over in place."""
        u = self._vectors("u", self.rows)
        for _ in range(iterations):
            v = torch.bmm(S.mT, u)
            v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
            t = torch.bmm(S, v)
            sigma = torch.linalg.vector_norm(t, dim=1, keepdim=True)
            u = t / sigma
        layers = list(self.layers.values())
        new = [u[i, :r, 0] for i, (r, _) in enumerate(self.shapes)] + [v[i, :c, 0] for i, (_, c) in enumerate(self.shapes)]
        torch._foreach_copy_([layer.u for layer in layers] + [layer.v for layer in layers], new)
        return u, v, sigma

    def _vectors(self, name: str, length: int) -> Tensor:
        """The layers' u or v, [L, length, 1]. What is beyond a layer's own is arbitrary: it meets the zeros of the matrices."""
        flat = torch.cat([getattr(layer, name) for layer in self.layers.values()])
        if self.is_padded:
            flat = flat.index_select(0, self._constant(name, flat))
        return flat.view(self.L, length, 1)

    def _constant(self, name: str, like: Tensor) -> Tensor:
        """An index, or the zero in the type of the weights, where it is needed."""
        constant = self._constants[name]
        dtype = like.dtype if constant.is_floating_point() else constant.dtype
        if constant.device != like.device or constant.dtype != dtype:
            constant = self._constants[name] = constant.to(like.device, dtype)
        return constant


class _Divide(torch.autograd.Function):
    """S / sigma as the layers' weights, with the gradient of paper eq. 12 in closed form."""

    @staticmethod
    def forward(ctx: Any, stack: Stack, S: Tensor, u: Tensor, v: Tensor, sigma: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        W_SN = S / sigma  # [L, rows, columns]
        ctx.stack = stack
        ctx.save_for_backward(W_SN, u, v, sigma)
        return stack.unpad(W_SN)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        W_SN, u, v, sigma = ctx.saved_tensors
        L = len(W_SN)
        with torch.autocast(W_SN.device.type, enabled=False):
            g = ctx.stack.pad(gradients)
            along = torch.bmm(g.view(L, 1, -1), W_SN.view(L, -1, 1))  # <g, W / sigma>, [L, 1, 1]
            gradient = torch.baddbmm(g, u * along, v.mT, alpha=-1) / sigma
        return None, None, None, None, None, *ctx.stack.unpad(gradient)


def group(shapes: Sequence[Sequence[int]]) -> list[list[int]]:
    """Which matrices share a batch, as indices: as few batches as `MOST_PADDING` allows, joining first what costs least."""
    groups: list[list[int]] = []
    for shape in dict.fromkeys(map(tuple, shapes)):
        groups.append([i for i, other in enumerate(shapes) if tuple(other) == shape])

    def padded(members: list[int]) -> int:
        return len(members) * max(shapes[i][0] for i in members) * max(shapes[i][1] for i in members)

    budget = MOST_PADDING * sum(rows * columns for rows, columns in shapes)
    while len(groups) > 1:
        costs = {
            (a, b): padded(groups[a] + groups[b]) - padded(groups[a]) - padded(groups[b])
            for a, b in itertools.combinations(range(len(groups)), 2)
        }
        a, b = min(costs, key=costs.__getitem__)
        if sum(map(padded, groups)) + costs[a, b] > budget:
            break
        groups[a] += groups.pop(b)
    return [sorted(members) for members in groups]
