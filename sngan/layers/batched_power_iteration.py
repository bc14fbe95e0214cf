"""Algorithm 1 for all layers of a network together: an optimisation for GPUs with the results that `spectral_norm.py` defines.

On a GPU the cost is the number of kernels, not their size. So layers are padded with zeros to one shape and iterated as one batch of
matrices; layers whose shapes differ too much form several batches. After an iteration sigma = u^T W v = |W v|, which saves a product. The
gradient of W / sigma is written in closed form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sngan.layers.linear_maps import Matrices, Weight

MOST_PADDING = 2.0
"""The padded batches hold at most this many times as many numbers as the weights."""


def layout(weight: Weight) -> Matrices:
    """How a weight is laid out as matrices: other maps are in no batch."""
    assert isinstance(weight.map, Matrices)
    return weight.map


class Batches:
    """All weights, in a few batches."""

    def __init__(self, weights: Mapping[str, Weight]):
        named = list(weights.items())
        shapes = [(weight.map.blocks, *layout(weight).matrix(weight.W).shape[-2:]) for weight in weights.values()]
        self.names = list(weights)
        self.stacks = [Stack(dict(named[i] for i in members)) for members in group(shapes)]

    @torch.no_grad()
    def advance(self, iterations: int) -> None:
        """Runs this many power iterations on all weights, in place."""
        for stack in self.stacks:
            stack.iterate(stack.pad(stack.weights()), iterations)

    def divided(self, iterations: int) -> dict[str, Tensor]:
        """W / sigma(W) of each weight, by name, after this many power iterations, with u and v constant."""
        divided: dict[str, Tensor] = {}
        for stack in self.stacks:
            weights = stack.weights()
            with torch.no_grad():
                S = stack.pad(weights)
                u, v, sigma = stack.iterate(S, iterations) if iterations else stack.current(S)
            divided.update(zip(stack.named, _Divide.apply(stack, S, u, v, sigma, *weights), strict=True))
        return {name: divided[name] for name in self.names}


class Stack:
    """Some weights as one batch of L matrices [L, rows, columns], padded with zeros."""

    def __init__(self, weights: dict[str, Weight]):
        self.named = weights
        self.shapes = [
            tuple(layout(weight).matrix(weight.W).shape[-2:]) for weight in weights.values() for _ in range(weight.map.blocks)
        ]
        self.sizes = [rows * columns for rows, columns in self.shapes]
        self.L, self.rows, self.columns = len(self.shapes), max(r for r, _ in self.shapes), max(c for _, c in self.shapes)
        self.is_padded = len(set(self.shapes)) > 1
        if self.is_padded:
            self._build_indices()

    def _build_indices(self) -> None:
        """Builds the indices that pad the weights (the index after the last number is a zero) and those that unpad them."""
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
        """The parameters."""
        return [weight.W for weight in self.named.values()]

    def pad(self, weights: Sequence[Tensor]) -> Tensor:
        """Tensors of the weights' shapes as one batch [L, rows, columns]."""
        flat = [layout(weight).matrix(W).flatten() for weight, W in zip(self.named.values(), weights, strict=True)]
        if self.is_padded:
            numbers = torch.cat([*flat, self._constant("zero", flat[0])])
            return numbers.index_select(0, self._constant("source", numbers)).view(self.L, self.rows, self.columns)
        return (flat[0] if len(flat) == 1 else torch.cat(flat)).view(self.L, self.rows, self.columns)

    def unpad(self, S: Tensor) -> tuple[Tensor, ...]:
        """A batch [L, rows, columns] as tensors of the weights' shapes, which share its memory."""
        flat = S.flatten()
        if self.is_padded:
            flat = flat.index_select(0, self._constant("back", S))
        parts = flat.split([weight.W.numel() for weight in self.named.values()])
        return tuple(layout(weight).unmatrix(part, weight.W.shape) for weight, part in zip(self.named.values(), parts, strict=True))

    def current(self, S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u [L, rows, 1], v [L, columns, 1] and sigma [L, 1, 1] for weights S, as copies that no later iteration changes."""
        u, v = self._vectors("u", self.rows), self._vectors("v", self.columns)
        return u, v, u.mT @ (S @ v)

    def iterate(self, S: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
        """Runs power iterations; returns u, v and sigma like `current`, and writes u and v into the weights' own in place."""
        u = self._vectors("u", self.rows)
        for _ in range(iterations):
            v = torch.bmm(S.mT, u)
            v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
            t = torch.bmm(S, v)
            sigma = torch.linalg.vector_norm(t, dim=1, keepdim=True)
            u = t / sigma
        new = [u[i, :r, 0] for i, (r, _) in enumerate(self.shapes)] + [v[i, :c, 0] for i, (_, c) in enumerate(self.shapes)]
        torch._foreach_copy_(self._each("u") + self._each("v"), new)
        return u, v, sigma

    def _vectors(self, name: str, length: int) -> Tensor:
        """All u or v, [L, length, 1]. The padding is arbitrary: it is multiplied by the zeros of the matrices."""
        flat = torch.cat(self._each(name))
        if self.is_padded:
            flat = flat.index_select(0, self._constant(name, flat))
        return flat.view(self.L, length, 1)

    def _each(self, name: str) -> list[Tensor]:
        """The u or v of each matrix, which share memory with the weights' own."""
        vectors: list[Tensor] = []
        for weight in self.named.values():
            vector: Tensor = getattr(weight, name)
            vectors.extend(vector if weight.map.blocks > 1 else [vector])
        return vectors

    def _constant(self, name: str, like: Tensor) -> Tensor:
        """An index, or the zero in the weights' type, on the device of `like`."""
        constant = self._constants[name]
        dtype = like.dtype if constant.is_floating_point() else constant.dtype
        if constant.device != like.device or constant.dtype != dtype:
            constant = self._constants[name] = constant.to(like.device, dtype)
        return constant


class _Divide(torch.autograd.Function):
    """S / sigma as the layers' weights, with the gradient (g - <g, W / sigma> u v^T) / sigma of paper eq. 12 in closed form."""

    @staticmethod
    def forward(ctx: Any, stack: Stack, S: Tensor, u: Tensor, v: Tensor, sigma: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        W_SN = S / sigma  # [L, rows, columns]
        ctx.stack = stack
        ctx.save_for_backward(W_SN, u, v, sigma, *weights)
        return stack.unpad(W_SN)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        W_SN, u, v, sigma, *weights = ctx.saved_tensors
        with torch.autocast(W_SN.device.type, enabled=False):
            if torch.is_grad_enabled():  # a second derivative is wanted, so W / sigma must be a function of W here too
                S = ctx.stack.pad(weights)
                sigma = u.mT @ (S @ v)
                W_SN = S / sigma
            g = ctx.stack.pad(gradients)
            # <g, W / sigma>, [L, 1, 1]; as a batch of products of a row and a column, a GPU has one block of threads for each
            along = (g * W_SN).sum((1, 2), keepdim=True)
            gradient = torch.baddbmm(g, u * along, v.mT, alpha=-1) / sigma
        return None, None, None, None, None, *ctx.stack.unpad(gradient)


def group(shapes: Sequence[Sequence[int]]) -> list[list[int]]:
    """The indices of the weights, [blocks, rows, columns] each, in each batch: as few batches as `MOST_PADDING` allows.

    Those that need the least padding merge first.
    """
    groups: list[list[int]] = []
    for shape in dict.fromkeys(map(tuple, shapes)):
        groups.append([i for i, other in enumerate(shapes) if tuple(other) == shape])

    def padded(members: list[int]) -> int:
        return sum(shapes[i][0] for i in members) * max(shapes[i][1] for i in members) * max(shapes[i][2] for i in members)

    budget = MOST_PADDING * sum(math.prod(shape) for shape in shapes)
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
