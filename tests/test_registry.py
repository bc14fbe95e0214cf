from __future__ import annotations

from pathlib import Path

import pytest

from sngan import registry
from sngan.cli.hydra_app import RULES, configs
from sngan.config import Component, Data, Network, Section
from sngan.data.images import ImageSpec
from sngan.errors import UserError

GROUPS = sorted(registry.PACKAGES)
CHOICES = [(group, path) for group in GROUPS for path in sorted((configs() / group).glob("*.yaml"))]


def composed(group: str, path: Path) -> dict[str, object]:
    """A choice's keys and values, its includes resolved."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(configs()), **RULES):
        cfg = compose(f"{group}/{path.stem}")
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    return values.get(group, values)


@pytest.mark.parametrize("group", GROUPS)
def test_every_name_has_a_file_of_its_own(group: str) -> None:
    files = {path.stem for path in (configs() / group).glob("*.yaml")}
    assert set(registry.names(group)) <= files


@pytest.mark.parametrize(("group", "path"), CHOICES, ids=lambda value: getattr(value, "stem", value))
def test_every_file_gives_each_option_of_its_builder_and_nothing_else(group: str, path: Path) -> None:
    values = composed(group, path)
    assert values["name"] in registry.names(group)
    schema = {"data": Data, "generator": Network, "discriminator": Network}.get(group)
    common = set(schema.model_fields) - {"name"} if schema else set()
    assert values.keys() - {"name"} - common == registry.options(group, str(values["name"])).keys()


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in registry.names(group)])
def test_a_default_lives_in_the_file_alone(group: str, name: str) -> None:
    import inspect

    builder = registry._builders[group][name]
    for parameter in inspect.signature(builder).parameters.values():
        assert parameter.default is inspect.Parameter.empty, f"{group}={name}: {parameter.name} has a default in Python too"


def test_every_key_says_how_to_use_it() -> None:
    for _, path in CHOICES:
        lines = [
            line for line in path.read_text().splitlines() if line and not line.startswith((" ", "#", "defaults", "name", "-"))
        ]
        if "defaults: [" not in path.read_text():  # variants of a file that says it
            assert all("#" in line for line in lines), path


def test_unknown_name_is_one_line_with_the_nearest() -> None:
    with pytest.raises(
        UserError,
        match=r"loss\.name=hing: no such loss; did you mean hinge\? allowed: bce, hinge, least_squares, "
        r"relativistic_average, relativistic_pair, wasserstein",
    ):
        registry.build("loss", Component(name="hing"))


def test_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown key loss\.saturatin; did you mean saturating\?"):
        registry.build("loss", Component(name="bce", saturatin=True))


def test_missing_option_is_named() -> None:
    with pytest.raises(UserError, match=r"loss\.saturating is missing"):
        registry.build("loss", Component(name="bce"))


@pytest.mark.parametrize("value", ["yes", 1, None, [True]])
def test_option_of_the_wrong_type_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"loss\.saturating="):
        registry.build("loss", Component(name="bce", saturating=value))


def test_names_from_data_are_never_imported() -> None:
    for name in ("os.system", "sngan.losses.hinge", "builtins.eval", "../hinge"):
        with pytest.raises(UserError, match="no such loss"):
            registry.build("loss", Component(name=name))


def test_a_plugin_registers_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._builders, "loss", dict(registry._builders["loss"]))

    @registry.register("loss", "mine")
    def mine(*, weight: float) -> float:
        return weight

    assert registry.build("loss", Component(name="mine", weight=2)) == 2.0


def test_a_cell_that_registers_runs_again_with_what_it_has_become(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._builders, "loss", dict(registry._builders["loss"]))
    cell = "from sngan import register\n@register('loss', 'mine')\ndef {}(*, weight: float = {}) -> float:\n    return weight"
    for name, weight in (("mine", 1.0), ("mine", 2.0), ("renamed", 3.0)):
        exec(cell.format(name, weight), {"__name__": "__main__"})
        assert registry.build("loss", Component(name="mine")) == weight


def test_a_name_of_another_builder_is_refused_with_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names("loss")
    with pytest.raises(
        UserError, match=r"loss=hinge is the name of sngan\.losses\.hinge\.hinge and of .*; give yours another name"
    ):

        @registry.register("loss", "hinge")
        def mine() -> None: ...


def test_a_group_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"register\('losses', 'mine'\): no such group; did you mean loss\?"):
        registry.register("losses", "mine")


def test_a_plugin_with_another_signature_is_told_what_it_must_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._builders, "discriminator", dict(registry._builders["discriminator"]))

    @registry.register("discriminator", "mine")
    def mine(spec: ImageSpec, *, width: int) -> None: ...

    with pytest.raises(
        UserError, match=r"discriminator\.name=mine: its builder must take ImageSpec, function and then its options"
    ):
        registry.build("discriminator", Component(name="mine", width=2), ImageSpec(32, 3, 0), lambda channels: None)


def test_sections_are_frozen_and_strict() -> None:
    assert Section.model_config["frozen"]
    assert Section.model_config["extra"] == "forbid"


def test_yaml_floats_are_floats() -> None:
    """`betas: [0, 0.9]` reaches Adam as floats."""
    from sngan import compose

    config = compose(["optimizer.betas=[0, 0.9]", "optimizer.lr=1"])
    assert [type(beta) for beta in config.optimizer.betas] == [float, float]
    assert isinstance(config.optimizer.lr, float)
