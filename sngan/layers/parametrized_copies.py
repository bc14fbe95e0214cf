"""How layers with parametrisations are copied and pickled."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize


def copied_as_plain(layer_class: Any) -> None:
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
        list_parameters(layer)
        state["_flat_weights"] = layer._flat_weights
    names: Any = layer.parametrizations
    return _empty, (plain, list(names)), state


def _empty(plain: type[nn.Module], names: list[str]) -> nn.Module:
    """A layer of a class with these parametrised parameters, without its state."""
    layer = plain.__new__(plain)
    parametrize._inject_new_class(layer)
    copied_as_plain(type(layer))
    for name in names:
        parametrize._inject_property(layer, name)
    return layer


def list_parameters(layer: Any, *forward: Any) -> None:
    """After it: the parameters, since a list of results could not be copied."""
    parameters = {name.removeprefix("parametrizations.").removesuffix(".original"): p for name, p in layer.named_parameters()}
    layer._flat_weights = [parameters.get(name) for name in layer._flat_weights_names]
