"""Names to builders: what a config or a checkpoint may ask for.

A group is a folder of `configs/` mirrored by a package: `configs/loss/hinge.yaml` <-> `sngan/losses/hinge.py`. The first look-up in a
group imports that package's modules, and each registers the names it offers. A name that comes from a file is then looked up, never
imported: loading a stranger's checkpoint cannot run code.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints

from sngan.errors import UserError, explain, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

PACKAGES = {
    "generator": "sngan.generators",
    "discriminator": "sngan.discriminators",
    "loss": "sngan.losses",
    "regularizer": "sngan.regularizers",
    "augment": "sngan.augmentations",
    "data": "sngan.data",
    "extractor": "sngan.evaluation.extractors",
    "mode": "sngan.sampling.modes",
}

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Component(Protocol):
    """A choice of the config: a name, and the options for its builder (`sngan.config.Component`)."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


_builders: dict[str, dict[str, Callable[..., Any]]] = {group: {} for group in PACKAGES}


def register(group: str, name: str) -> Callable[[Builder], Builder]:
    """Decorator that offers a builder as `group=name`.

    The builder's positional parameters are what the program knows (an `ImageSpec`, say); its keyword-only parameters are the options
    of the YAML file, with types that pydantic checks and without defaults: the YAML file is where a default lives. A builder without
    a YAML file has its defaults in the signature.

    The same builder replaces itself, so that a notebook's cell may run again. Raises `UserError` for an unknown group, and for a name that
    two builders want.
    """
    if group not in _builders:
        raise UserError(f"register({group!r}, {name!r}): no such group; {nearest(group, _builders)}")

    def add(builder: Builder) -> Builder:
        before = _builders[group].get(name, builder)
        if _origin(before) != _origin(builder):
            raise UserError(f"{group}={name} is the name of {_origin(before)} and of {_origin(builder)}; give yours another name")
        _builders[group][name] = builder
        return builder

    return add


def _origin(builder: Callable[..., Any]) -> str:
    """Where a builder was written; in a script or notebook, whose cells change, the whole of it is one place."""
    return "__main__" if builder.__module__ == "__main__" else f"{builder.__module__}.{builder.__qualname__}"


def registered(group: str) -> set[str]:
    """The names that have been registered so far; imports nothing."""
    return set(_builders[group])


def names(group: str) -> list[str]:
    """All names that the group offers, sorted; imports the group's own modules the first time."""
    _import_group(group)
    return sorted(_builders[group])


def check(group: str, component: Component) -> dict[str, Any]:
    """The component's options, checked and converted to the types of the builder's signature.

    Raises `UserError` that names the key for an unknown name, an unknown or missing option, or a value of the wrong type or range.
    """
    from pydantic import ValidationError

    if component.name not in names(group):
        known = nearest(component.name, names(group))
        raise UserError(
            f"{group}.name={component.name}: no such {group}; {known}; names of your own are registered by plugins=[MODULE]"
        )
    schema = _options_schema(group, component.name, _builders[group][component.name])
    try:
        # through JSON, where strict still reads a list as a tuple, a string as a path and an int as a float
        checked = schema.model_validate_json(json.dumps(dict(component.options)), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, prefix=f"{group}.", allowed=schema.model_fields)) from None
    return {option: getattr(checked, option) for option in schema.model_fields}


def build(group: str, component: Component, *context: Any) -> Any:
    """The object that the named builder makes from `context` and the component's options. Raises `UserError` as `check` does."""
    options = check(group, component)
    builder = _builders[group][component.name]
    try:
        inspect.signature(builder).bind(*context, **options)
    except TypeError as error:
        takes = ", ".join(type(part).__name__ for part in context) or "nothing"
        raise UserError(
            f"{group}.name={component.name}: its builder must take {takes} and then its options by keyword ({error})"
        ) from None
    return builder(*context, **options)


def options(group: str, name: str) -> Mapping[str, Any]:
    """The options of a builder: name -> annotated type."""
    _import_group(group)
    return {option: hint for option, (hint, _) in _signature(_builders[group][name]).items()}


def defaults(group: str, name: str) -> Mapping[str, Any]:
    """The options that have defaults in the signature of a builder that is registered, as plain values."""
    from pydantic import TypeAdapter

    return {
        option: TypeAdapter(hint).dump_python(default, mode="json")
        for option, (hint, default) in _signature(_builders[group][name]).items()
        if default is not ...
    }


def _signature(builder: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Option -> annotated type and default, `...` where there is none."""
    hints = get_type_hints(builder.__init__ if inspect.isclass(builder) else builder, include_extras=True)
    own = (p for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY)
    return {p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default) for p in own}


@cache
def _import_group(group: str) -> None:
    package = importlib.import_module(PACKAGES[group])
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{PACKAGES[group]}.{module.name}")


@cache
def _options_schema(group: str, name: str, builder: Callable[..., Any]) -> type[BaseModel]:
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = dict(_signature(builder))
    return create_model(f"{group}.{name}", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
