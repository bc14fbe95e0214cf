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
    of the YAML file, with types that pydantic checks and without defaults: the YAML file is where a default lives.
    """

    def add(builder: Builder) -> Builder:
        assert name not in _builders[group], f"{group}={name} is registered twice"
        _builders[group][name] = builder
        return builder

    return add


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
    schema = _options_schema(group, component.name)
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
    builder = _builders[group][name]
    hints = get_type_hints(builder.__init__ if inspect.isclass(builder) else builder, include_extras=True)
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


@cache
def _import_group(group: str) -> None:
    package = importlib.import_module(PACKAGES[group])
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{PACKAGES[group]}.{module.name}")


@cache
def _options_schema(group: str, name: str) -> type[BaseModel]:
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {option: (hint, ...) for option, hint in options(group, name).items()}
    return create_model(f"{group}.{name}", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
