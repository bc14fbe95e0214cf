"""The parametrisation that `spectral_norm` registers for a weight, and the bank in which the weights of a model advance together."""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.batched_power_iteration import Batches
from sngan.layers.linear_maps import Convolution, LinearMap, Matrices, Weight
from sngan.layers.spectral_norm import (
    LAYER_BY_LAYER_ON,
    Bound,
    converge,
    divide,
    is_transformed,
    multiply,
    power_iteration,
    sigma,
)
from sngan.layers.version import Quotient, Touch, Version, without_autocast

MOST_WARMUP = 100
"""The most power iterations from a random u, when a weight is first normalised."""
WARMUP_TOLERANCE = 0.01
"""The warm-up ends once a singular value lies within this part of sigma."""
MOST_ITERATIONS = 1000
"""The most power iterations for a `tolerance`."""


class NormalizedWeight(nn.Module):
    """The parametrisation of one weight: from W to its normalised form, with buffers `_u` and `_v` in the order of torch's."""

    _u: Tensor
    _v: Tensor

    def __init__(
        self,
        linear_map: LinearMap,
        bank: Bank,
        n_power_iterations: int,
        scale: float | Literal["learned"],
        capped: bool,
        iterate_per: Literal["update", "forward"],
        tolerance: float | None,
    ):
        super().__init__()
        self.map, self.n_power_iterations, self.scale, self.capped = linear_map, n_power_iterations, scale, capped
        self.iterate_per, self.tolerance = iterate_per, tolerance
        self._original: weakref.ref[Tensor] | None = None
        self._shared: Version | None = None
        self._touch = Touch()
        self.bank = bank
        bank.join(self)

    def begin(self, W: Tensor) -> None:
        """Starts u and v for a weight that is now known, and `gamma`."""
        self._original = weakref.ref(W)
        if self.is_ready:
            self._start(W)
        else:
            self.register_buffer("_u", W.new_empty(0))
            self.register_buffer("_v", W.new_empty(0))
        if self.scale == "learned":
            start = sigma(self._bound(W)).detach().clone() if self.is_ready else torch.zeros_like(W.flatten()[0]).detach()
            self.gamma = nn.Parameter(start)

    @property
    def is_ready(self) -> bool:
        """Whether the linear map is known: a convolution may not have met an input yet."""
        return not isinstance(self.map, Convolution) or bool(self.map.size)

    def meet(self, size: tuple[int, ...], W: Tensor) -> None:
        """Makes the convolution's map that on inputs of this size, from a new start if it is another than before."""
        assert isinstance(self.map, Convolution)
        if self.map.size != size:
            is_first = not self.is_ready
            self.map = dataclasses.replace(self.map, size=size)
            self._start(W)
            if is_first and self.scale == "learned":
                with torch.no_grad():
                    self.gamma.copy_(sigma(self._bound(W)))

    @torch.no_grad()
    def _start(self, W: Tensor) -> None:
        u, v = self.map.start(W.detach())
        self.register_buffer("_u", u)
        self.register_buffer("_v", v)
        self._shared = None
        if not W.is_meta:
            converge(self._bound(W), WARMUP_TOLERANCE, most=MOST_WARMUP)

    def right_inverse(self, W: Tensor) -> Tensor:
        """W itself: what is assigned to the layer's weight is W, and is used as W / sigma."""
        return W

    def forward(self, W: Tensor) -> Tensor:
        """The normalised form of W; in training mode u and v advance, in place."""
        if not self.is_ready:
            raise UserError("norm=map: this convolution has met no input yet; run the network once, or give size=(H, W)")
        with without_autocast(W):  # arithmetic in W's own type
            if self.training and self._shares(W):
                if self.W is not W:
                    self._original = weakref.ref(W)
                version = self.bank.version(self)
                if not self.capped and isinstance(self.map, Matrices):
                    return self._scaled(Quotient.apply(W, version))
                bound = Bound(W, version.u, version.v, version.map)
            else:
                bound = self._bound(W)
                if self.training and not is_transformed():
                    self.iterate(bound)
            if self.capped and not isinstance(self.scale, str):
                return multiply(W, (self.scale / sigma(bound)).clamp(max=1.0))
            return self._scaled(divide(W, sigma(bound)))

    def _scaled(self, W_SN: Tensor) -> Tensor:
        if isinstance(self.scale, str):
            return multiply(W_SN, self.gamma)
        scale: float = self.scale
        return W_SN if scale == 1.0 else scale * W_SN

    @torch.no_grad()
    def iterate(self, bound: Weight) -> Tensor:
        """One update of sigma: advances u and v in place; returns sigma with them."""
        if self.tolerance is not None:
            return converge(bound, self.tolerance, most=MOST_ITERATIONS)
        for _ in range(self.n_power_iterations):
            value = power_iteration(bound)
        return value

    def _shares(self, W: Tensor) -> bool:
        """Whether forwards with this version of W can share what is computed: it is the parameter, and plain eager mode."""
        return (
            self.iterate_per == "update"
            and isinstance(W, nn.Parameter)
            and W.is_floating_point()
            and not torch.compiler.is_compiling()
            and torch._C._get_tracing_state() is None
            and not torch.is_inference_mode_enabled()
            and not is_transformed()
        )

    @property
    def W(self) -> Tensor | None:
        """The parameter that this weight was last seen with, or None."""
        return self._original() if self._original else None

    @property
    def u(self) -> Tensor:
        """The left singular vector."""
        return self._u

    @property
    def v(self) -> Tensor:
        """The right singular vector."""
        return self._v

    def numbers(self) -> tuple[int, ...]:
        """What changes when W, or the shared W / sigma, is changed in place and autograd is told so."""
        W, version = self.W, self._shared
        assert W is not None
        return (W._version, W.data_ptr(), version.W_SN._version if version else 0)

    def has_changed(self) -> bool:
        """Whether W is surely another than `_shared` was computed for, or nothing has been computed."""
        return self._shared is None or self._shared.numbers != self.numbers()

    def is_current(self) -> bool:
        """Whether W is surely what it was when `_shared` was computed."""
        return not self._touch.is_set and not self.has_changed()

    @torch.no_grad()
    def renew(self) -> None:
        """Advances u and v if W has changed, in place, and computes W / sigma."""
        W = self.W
        assert W is not None
        bound = as_matrix(self._bound(W.detach()))
        earlier = self._shared
        if earlier is None or self.has_changed():
            self.keep(self.iterate(bound))
            return
        # a backward pass went through: fused optimisers, and changes of `W.data`, do not count as changes in place
        u, v = bound.u.clone(), bound.v.clone()
        changed = exactly(bound) != earlier.sigma
        self.iterate(bound)
        for vector, before in ((bound.u, u), (bound.v, v)):
            where = changed.view(-1, 1) if changed.dim() else changed
            vector.copy_(torch.where(where, vector, before))
        self.keep(exactly(bound))

    def keep(self, value: Tensor, W_SN: Tensor | None = None) -> None:
        """Takes sigma as that of the present version of W, and W / sigma, which is computed if it is not given."""
        W = self.W
        assert W is not None
        if W_SN is None:
            W_SN = divide(W.detach(), value)
        numbers = (W._version, W.data_ptr(), W_SN._version)
        self._shared = Version(numbers, self._u.clone(), self._v.clone(), value, W_SN, self.map, self._touch)
        self._touch.is_set = False

    def _bound(self, W: Tensor) -> Bound:
        return Bound(W, self._u, self._v, self.map)

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this object alone, and not to a copy of it."""
        return {**self.__dict__, "_original": None, "_shared": None, "_touch": Touch()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.bank.join(self)  # the copy's own bank: a bank is copied without its members

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        u, v = state_dict.get(f"{prefix}_u"), state_dict.get(f"{prefix}_v")
        W = self.W
        if u is not None and v is not None and u.shape != self._u.shape:
            if isinstance(self.map, Convolution) and v.dim() == len(self.map.stride) + 1:
                self.map = dataclasses.replace(self.map, size=tuple(v.shape[1:]))
                self._u, self._v = self._u.new_empty(u.shape), self._v.new_empty(v.shape)
            elif W is not None and self.map.blocks > 1 and u.dim() == v.dim() == 1:
                # of one matrix, where here each block has a norm: start anew from the weight, which is loaded before
                self._start(W)
                state_dict[f"{prefix}_u"], state_dict[f"{prefix}_v"] = self._u.clone(), self._v.clone()
        self._shared = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """What differs from the paper's form."""
        parts = ["norm=map"] if isinstance(self.map, Convolution) else []
        parts += [f"blocks={self.map.blocks}"] * (self.map.blocks > 1) + [f"scale={self.scale}"] * (self.scale != 1.0)
        return ", ".join([*parts, *["capped"] * self.capped])


def as_matrix(bound: Bound) -> Bound:
    """The same with W as its matrix already, so that the several products of an iteration share the copy that a transposed W needs."""
    if not isinstance(bound.map, Matrices):
        return bound
    M, blocks = bound.map.matrix(bound.W), bound.map.blocks
    return bound._replace(W=M.flatten(0, 1) if blocks > 1 else M, map=Matrices(blocks=blocks))


def exactly(bound: Weight) -> Tensor:
    """|W v|, which is u^T W v after a power iteration: to the bit what `power_iteration` returned, if W is what it was."""
    length = bound.map.length(bound.map.forward(bound.W, bound.v))
    return length.flatten() if bound.map.blocks > 1 else length


class Bank:
    """The normalised weights of a model, which advance together."""

    def __init__(self) -> None:
        self._members: list[weakref.ref[NormalizedWeight]] = []
        self._batches: tuple[list[NormalizedWeight], Batches] | None = None

    def join(self, member: NormalizedWeight) -> None:
        """Adds a weight."""
        self._members.append(weakref.ref(member))

    def __getstate__(self) -> dict[str, Any]:
        return {"_members": [], "_batches": None}  # copies of the members join the copy

    def version(self, member: NormalizedWeight) -> Version:
        """What was computed for the present version of a weight; if it is new, that of all members is computed.

        Activation checkpointing, which runs forwards again in the backward pass, finds the version of the first forward.
        """
        if not member.is_current():
            self._renew(member)
        assert member._shared is not None
        return member._shared

    def _renew(self, member: NormalizedWeight) -> None:
        stale = [member]
        for other in filter(None, (ref() for ref in self._members)):
            W = other.W
            is_at_work = other.training and other.is_ready and W is not None and other._shares(W) and W.device == member._u.device
            if other is not member and is_at_work and not other.is_current():
                stale.append(other)
        if member._u.device.type not in LAYER_BY_LAYER_ON:
            stale = self._renew_together(stale)
        for weight in stale:
            weight.renew()

    @torch.no_grad()
    def _renew_together(self, stale: list[NormalizedWeight]) -> list[NormalizedWeight]:
        """Renews the matrices among these weights in batches, if each of them has surely changed; returns the weights that are left."""
        first = stale[0]
        alike = [
            weight
            for weight in stale
            if isinstance(weight.map, Matrices)
            and weight.n_power_iterations == first.n_power_iterations
            and weight.tolerance is None
            and weight._u.dtype == first._u.dtype
            and weight.has_changed()
        ]
        if len(alike) < 2:
            return stale
        if self._batches is None or self._batches[0] != alike:
            members: dict[str, Any] = {str(i): weight for i, weight in enumerate(alike)}
            self._batches = (alike, Batches(members))
        divided = self._batches[1].divided(first.n_power_iterations)
        for weight, W_SN in zip(alike, divided.values(), strict=True):
            W = weight.W
            assert W is not None
            weight.keep(exactly(weight._bound(W.detach())), W_SN)
        return [weight for weight in stale if weight not in alike]


class UnitVector(nn.Module):
    """The parametrisation of a parameter with one dimension, whose sigma is its length: no iteration is needed (as in torch)."""

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, w: Tensor) -> Tensor:
        """w / |w|."""
        return nn.functional.normalize(w, dim=0, eps=self.eps)

    def right_inverse(self, w: Tensor) -> Tensor:
        """w itself."""
        return w
