"""`spectral_norm(module)`: spectral normalisation of any network in place, in the conventions of `torch.nn.utils.parametrizations`.

It is Algorithm 1 of `spectral_norm.py`. In training mode all weights of a model advance u and v together, once for each version of the
weights, and every forward with this version shares W / sigma; nobody has to say when the weights have changed.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatch
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sngan.errors import UserError
from sngan.layers.batched_power_iteration import Batches
from sngan.layers.linear_maps import CONVOLUTIONS, Convolution, LinearMap, Matrices
from sngan.layers.spectral_norm import (
    LAYER_BY_LAYER_ON,
    Bound,
    Weight,
    converge,
    divide,
    is_transformed,
    multiply,
    power_iteration,
    sigma,
)
from sngan.layers.weights import Found, default_blocks, dimension, refuse_unusable, weights

Module = TypeVar("Module", bound=nn.Module)

MOST_WARMUP = 100
"""The most power iterations from a random u, when a weight is first normalised."""
WARMUP_TOLERANCE = 0.01
"""The warm-up ends once a singular value lies within this part of sigma."""
MOST_ITERATIONS = 1000
"""The most power iterations for a `tolerance`."""


def spectral_norm(
    module: Module,
    name: str | None = None,
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    blocks: int | None = None,
    norm: Literal["matrix", "map"] = "matrix",
    size: tuple[int, ...] | None = None,
    scale: float | Literal["learned"] = 1.0,
    capped: bool = False,
    iterate_per: Literal["update", "forward"] = "update",
    tolerance: float | None = None,
    exclude: Sequence[str] = (),
) -> Module:
    """Uses the weights of a layer, or of all layers of a network, as W / sigma(W); returns the same module.

    `spectral_norm(layer)` and `spectral_norm(layer, "weight", 1, 1e-12, 0)` mean what they mean in `torch.nn.utils.parametrizations`, and
    state dicts of torch's new and old form load. Without a `name` every weight of every layer inside is normalised: convolutions,
    transposed convolutions, linear and bilinear layers, embeddings, recurrent layers, attention (Q, K and V each for itself); a warning
    lists the parameters that stay as they are. With a `name` it is that parameter of `module`.

    name, dim           the parameter, and its dimension that counts outputs (by default 1 for transposed convolutions, else 0)
    eps                 of the length of a vector; of a matrix it is accepted and changes nothing, as a zero weight is refused
    n_power_iterations  for each update of sigma; with `tolerance` instead as many as it takes until a singular value of W lies within
                        tolerance * sigma of sigma (1,000 at most; on a GPU each waits for the device)
    blocks              parts of the first dimension that are matrices of their own: 3 for Q, K and V, `layer.groups` for the groups of a
                        convolution, 4 for the gates of an LSTM
    norm                matrix: of [out, in * kh * kw] (Miyato et al. 2018); map: of the convolution with its stride, zero padding,
                        dilation and groups on inputs of `size` [H, W], by default of the size that it last met
    scale               a factor; learned: a parameter `gamma` that starts at sigma(W), which is sigma-reparametrisation (Zhai et al. 2023)
    capped              W stays as it is while sigma(W) <= scale (as in Gouk et al. 2018, there after each update)
    iterate_per         update: u and v advance once when W has changed (Algorithm 1), also noticed after a backward pass if it was
                        changed behind autograd's back; forward: at each use, as in torch
    exclude             names of layers, or patterns as in file names, that keep their weights

    Training mode advances u and v; evaluation mode never does. While `torch.compile`, tracing, `torch.func` or a weight that is not a
    parameter (`functional_call`) is at work, nothing is shared: compiled code in training mode iterates at each use, transforms not at
    all. `nn.utils.parametrize.remove_parametrizations(layer, "weight")` or `remove_spectral_norm(module)` takes it off again.

    Raises `UserError` for a weight that is zero or not finite, that has this norm already, or a name that is not there.
    """
    if n_power_iterations < 1:
        raise UserError(f"n_power_iterations={n_power_iterations}: it must be 1 or more")
    if norm not in ("matrix", "map") or iterate_per not in ("update", "forward"):
        raise UserError(
            f"norm={norm}, iterate_per={iterate_per}: allowed are norm=matrix or map, and iterate_per=update or forward"
        )
    if isinstance(scale, str) and scale != "learned":
        raise UserError(f"scale={scale}: give a number, or learned")
    if tolerance is not None and not tolerance > 0:
        raise UserError(f"tolerance={tolerance}: it must be above 0")
    if size is not None and norm != "map":
        raise UserError(f"size={size} means something with norm=map alone")
    if capped and scale == "learned":
        raise UserError("capped=True needs a number as its scale; a learned scale has no cap")
    chosen, maps = _chosen(module, name, exclude), {}
    for full_name, weight in chosen.items():
        W = _usable(full_name, weight)
        refuse_unusable(full_name, W)
        if W.dim() == 1:
            parametrize.register_parametrization(weight.layer, weight.attribute, UnitVector(eps))
            return module  # it was named
        maps[full_name] = _linear_map(full_name, weight, dim=dim, blocks=blocks, norm=norm, size=size)
    bank = Bank()
    for full_name, (layer, attribute, _) in chosen.items():
        entry = NormalizedWeight(maps[full_name], bank, n_power_iterations, scale, capped, iterate_per, tolerance)
        parametrize.register_parametrization(layer, attribute, entry, unsafe=True)  # nothing is run: a map has not met an input yet
        entry.begin(layer.parametrizations[attribute].original)
        _own(type(layer))
        layer.register_load_state_dict_pre_hook(functools.partial(_from_old_form, name=attribute))
        if not entry.is_ready:
            layer.register_forward_pre_hook(functools.partial(_meet, attribute=attribute), with_kwargs=True)
        if isinstance(layer, nn.RNNBase):
            layer.register_forward_pre_hook(_list_weights)
            layer.register_forward_hook(_list_parameters, always_call=True)
    if name is None:
        _warn_of_free_parameters(module, exclude)
    return module


def remove_spectral_norm(module: Module, *, keep: Literal["normalized", "original"] = "normalized") -> Module:
    """Takes the norm off all weights of a module and its layers, in place: they become plain parameters that hold W / sigma, or W."""
    for layer in module.modules():
        attributes: Any = layer.parametrizations if parametrize.is_parametrized(layer) else ()
        for attribute in list(attributes):
            if any(isinstance(p, NormalizedWeight | UnitVector) for p in _parametrizations(layer, attribute)):
                parametrize.remove_parametrizations(layer, attribute, leave_parametrized=keep == "normalized")
    return module


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


class Version(NamedTuple):
    """What was computed for one version of a weight: copies, which no later iteration changes."""

    numbers: tuple[int, ...]
    """Counters of changes in place, and W's address."""
    u: Tensor
    v: Tensor
    sigma: Tensor
    W_SN: Tensor
    map: LinearMap


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
        self._is_touched = False
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
                    return self._scaled(_Quotient.apply(W, version, self))
                bound = Bound(W, version.u, version.v, version.map)
            else:
                bound = self._bound(W)
                if self.training and not is_transformed():
                    self.iterate(bound)
                bound = bound._replace(u=bound.u.clone(), v=bound.v.clone())
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

    def is_current(self) -> bool:
        """Whether W is surely what it was when `_shared` was computed."""
        return self._shared is not None and not self._is_touched and self._shared.numbers == self.numbers()

    @torch.no_grad()
    def renew(self) -> None:
        """Advances u and v if W has changed, in place, and computes W / sigma."""
        W = self.W
        assert W is not None
        bound = as_matrix(self._bound(W.detach()))
        earlier = self._shared
        if earlier is None or earlier.numbers != self.numbers():
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
        self._shared = Version((W._version, W.data_ptr(), W_SN._version), self._u.clone(), self._v.clone(), value, W_SN, self.map)
        self._is_touched = False

    def _bound(self, W: Tensor) -> Bound:
        return Bound(W, self._u, self._v, self.map)

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this object alone, and not to a copy of it."""
        return {**self.__dict__, "_original": None, "_shared": None, "_is_touched": False}

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


def without_autocast(W: Tensor) -> AbstractContextManager[Any]:
    """Arithmetic in the types of the tensors; no context at all where none is needed, as it takes longer than a small weight."""
    device = W.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


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

        During a backward pass, where activation checkpointing runs forwards again, it is still that of the forward.
        """
        is_backward = torch._C._current_graph_task_id() != -1
        if not (member._shared and is_backward) and not member.is_current():
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
            and (weight._shared is None or weight._shared.numbers != weight.numbers())
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
        return [weight for weight in stale if not any(weight is other for other in alike)]


class _Quotient(torch.autograd.Function):
    """W / sigma as it was computed for this version of W, with the gradient (g - <g, W / sigma> u v^T) / sigma of paper eq. 12."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, version: Version, weight: NormalizedWeight) -> Tensor:
        ctx.version, ctx.weight = version, weight
        W_SN = version.W_SN.detach()
        ctx.save_for_backward(W, W_SN)
        return W_SN

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        W, W_SN = ctx.saved_tensors
        _, u, v, value, _, linear_map = ctx.version
        ctx.weight._is_touched = True  # an update may follow that autograd does not see
        with without_autocast(W):
            if torch.is_grad_enabled():  # a second derivative is wanted, so W / sigma must be a function of W here too
                value = sigma(Bound(W, u, v, linear_map))
                W_SN = divide(W, value)
            assert isinstance(linear_map, Matrices)
            factor = 1.0 / value
            along = torch.linalg.vecdot(
                linear_map.matrix(g).flatten(-2), linear_map.matrix(W_SN).flatten(-2)
            )  # <g, W / sigma>, [blocks]
            shrunk = linear_map.matrix(multiply(g, factor))
            if linear_map.blocks == 1:
                gradient = torch.addr(shrunk, u * (along * factor), v, alpha=-1)
            else:
                scaled = u * (along * factor).unsqueeze(-1)
                gradient = torch.baddbmm(shrunk, scaled.unsqueeze(-1), v.unsqueeze(-2), alpha=-1)
            gradient = linear_map.unmatrix(gradient, W.shape)
        return gradient, None, None


def _chosen(module: nn.Module, name: str | None, exclude: Sequence[str]) -> dict[str, Found]:
    """The weights to normalise, by the names of their parameters."""
    if name is not None:
        if not isinstance(getattr(module, name, None), Tensor):
            have = ", ".join(n for n, _ in module.named_parameters(recurse=False)) or "none"
            raise UserError(f"{type(module).__name__} has no parameter {name}; its own are {have}")
        return {name: Found(module, name, default_blocks(module, name))}
    found = weights(module)
    if not found and isinstance(getattr(module, "weight", None), Tensor):
        found = {"": Found(module, "weight", 1)}  # a layer of a kind of one's own
    for pattern in exclude:
        if not any(fnmatch(known, pattern) for known in (*found, *dict(module.named_modules()), *dict(module.named_parameters()))):
            raise UserError(f"exclude={pattern}: no layer has this name; the layers are {', '.join(found)}")
    chosen = {layer: weight for layer, weight in found.items() if not any(fnmatch(layer, pattern) for pattern in exclude)}
    if not chosen:
        raise UserError(f"{type(module).__name__} has no weight to normalise; name a parameter with spectral_norm(module, name)")
    return {f"{layer}.weight".lstrip(".") if w.attribute == "weight" else layer: w for layer, w in chosen.items()}


def _usable(name: str, weight: Found) -> Tensor:
    """The parameter; raises `UserError` if it has this norm already."""
    if any(isinstance(p, NormalizedWeight | UnitVector) for p in _parametrizations(weight.layer, weight.attribute)):
        raise UserError(f"{name} is spectrally normalised already; remove_spectral_norm(module) takes it off")
    W: Tensor = getattr(weight.layer, weight.attribute)
    return W


def _linear_map(
    name: str,
    weight: Found,
    *,
    dim: int | None,
    blocks: int | None,
    norm: Literal["matrix", "map"],
    size: tuple[int, ...] | None,
) -> LinearMap:
    """How a weight acts; raises `UserError` if it cannot be split or has no such map."""
    layer, attribute, usual_blocks = weight
    if norm == "map" and isinstance(layer, CONVOLUTIONS):
        return Convolution.of(layer, size or ())
    W = getattr(layer, attribute)
    n = usual_blocks if blocks is None else blocks
    if W.dim() < 2 or not -W.dim() <= (dim or 0) < W.dim():
        raise UserError(f"{name} {list(W.shape)} has no matrix with its outputs in dimension {dim or 0}")
    if n < 1 or W.shape[0] % n:
        raise UserError(f"{name}: its first dimension of {W.shape[0]} cannot be split into {n} blocks")
    return Matrices(dimension(layer, attribute) if dim is None else dim % W.dim(), n)


def _warn_of_free_parameters(module: nn.Module, exclude: Sequence[str]) -> None:
    """Warns of the parameters that are neither normalised nor biases, nor excluded."""
    free = []
    for name, parameter in module.named_parameters():
        owner, _, last = name.rpartition(".")
        is_ours = ".parametrizations." in f".{name}" or "bias" in last
        if not is_ours and not any(fnmatch(owner, pattern) or fnmatch(name, pattern) for pattern in exclude):
            free.append(f"{name} {list(parameter.shape)}")
    if free:
        more = f" and {len(free) - 8} more" if len(free) > 8 else ""
        warnings.warn(f"spectral_norm leaves as they are: {', '.join(free[:8])}{more}", stacklevel=3)


def _parametrizations(layer: nn.Module, attribute: str) -> Any:
    """The parametrisations of a parameter, in order; none if it has none."""
    parametrizations: Any = layer.parametrizations if parametrize.is_parametrized(layer, attribute) else None
    return parametrizations[attribute] if parametrizations else ()


def _meet(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, attribute: str) -> None:
    """Before a convolution's forward: the size of its input."""
    x = args[0] if args else kwargs["input"]
    for entry in _parametrizations(layer, attribute):
        if isinstance(entry, NormalizedWeight) and isinstance(entry.map, Convolution):
            entry.meet(tuple(x.shape[-len(entry.map.stride) :]), layer.parametrizations[attribute].original)


def _list_weights(layer: Any, args: tuple[Any, ...]) -> None:
    """Before a recurrent layer's forward: it keeps a list of its weights, in which the normalised ones belong."""
    layer._flat_weights = [getattr(layer, name, None) for name in layer._flat_weights_names]


def _list_parameters(layer: Any, *forward: Any) -> None:
    """After it: the parameters, since a list of results could not be copied."""
    parameters = {name.removeprefix("parametrizations.").removesuffix(".original"): p for name, p in layer.named_parameters()}
    layer._flat_weights = [parameters.get(name) for name in layer._flat_weights_names]


def _from_old_form(module: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any, name: str) -> None:
    """Before a layer loads: the keys of `torch.nn.utils.spectral_norm` become those of the parametrisation."""
    for old, new in ((f"{name}_orig", "original"), (f"{name}_u", "0._u"), (f"{name}_v", "0._v")):
        if prefix + old in state_dict:
            state_dict[f"{prefix}parametrizations.{name}.{new}"] = state_dict.pop(prefix + old)


def _own(layer_class: Any) -> None:
    """Lets layers of a class that torch made for a parametrisation be copied and pickled, each with a class of its own.

    Torch refuses to pickle them, and gives a copy the class of the original, from which removing the norm of one would remove that of both.
    """
    layer_class.__reduce_ex__ = _reduce
    if "__deepcopy__" in vars(layer_class):
        del layer_class.__deepcopy__


def _reduce(layer: nn.Module, protocol: Any) -> tuple[Any, ...]:
    """How a layer with parametrisations is copied and pickled: as its plain class and its state."""
    plain = type(layer).__mro__[1]
    get_state: Any = plain.__getstate__  # not torch's, which refuses
    state = get_state(layer)
    if isinstance(layer, nn.RNNBase):  # which has just listed its weights anew
        _list_parameters(layer)
        state["_flat_weights"] = layer._flat_weights
    names: Any = layer.parametrizations
    return _empty, (plain, list(names)), state


def _empty(plain: type[nn.Module], names: list[str]) -> nn.Module:
    """A layer of a class with these parametrised parameters, without its state."""
    layer = plain.__new__(plain)
    parametrize._inject_new_class(layer)
    _own(type(layer))
    for name in names:
        parametrize._inject_property(layer, name)
    return layer
