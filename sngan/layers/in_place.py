"""`spectral_norm(module)`: spectral normalisation of any network in place, in the conventions of `torch.nn.utils.parametrizations`.

It is Algorithm 1 of `spectral_norm.py`. In training mode all weights of a model advance u and v together, once for each version of the
weights, and every forward with this version shares W / sigma; nobody has to say when the weights have changed.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any, Literal, TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from sngan.errors import UserError
from sngan.layers.linear_maps import CONVOLUTIONS, Convolution, LinearMap, Matrices
from sngan.layers.normalized_weight import Bank, NormalizedWeight, UnitVector
from sngan.layers.parametrized_copies import copied_as_plain, list_parameters
from sngan.layers.weights import Found, default_blocks, dimension, parameter_name, refuse_unusable, weights, without

Module = TypeVar("Module", bound=nn.Module)


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
        copied_as_plain(type(layer))
        layer.register_load_state_dict_pre_hook(functools.partial(_from_old_form, name=attribute))
        if not entry.is_ready:
            layer.register_forward_pre_hook(functools.partial(_meet, attribute=attribute), with_kwargs=True)
        if isinstance(layer, nn.RNNBase):
            layer.register_forward_pre_hook(_list_weights)
            layer.register_forward_hook(list_parameters, always_call=True)
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
    chosen = without(found, exclude, also=(*dict(module.named_modules()), *dict(module.named_parameters())))
    if not chosen:
        raise UserError(f"{type(module).__name__} has no weight to normalise; name a parameter with spectral_norm(module, name)")
    return {parameter_name(layer, weight): weight for layer, weight in chosen.items()}


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


def _from_old_form(module: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any, name: str) -> None:
    """Before a layer loads: the keys of `torch.nn.utils.spectral_norm` become those of the parametrisation."""
    for old, new in ((f"{name}_orig", "original"), (f"{name}_u", "0._u"), (f"{name}_v", "0._v")):
        if prefix + old in state_dict:
            state_dict[f"{prefix}parametrizations.{name}.{new}"] = state_dict.pop(prefix + old)
