"""Each data set has a YAML file of its name, with all options of its builder and the keys of `config.Data`."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sngan import config, registry
from sngan.cli.hydra_app import RULES

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", registry.names("data"))
def test_the_yaml_has_the_options_of_the_builder_and_the_common_keys(name):
    with initialize_config_dir(str(CONFIGS), **RULES):
        data = compose(overrides=[f"+data={name}"]).data
    assert data.name == name
    assert set(data) == set(registry.options("data", name)) | set(config.Data.model_fields)


@pytest.mark.parametrize("name", registry.names("data"))
def test_the_defaults_are_values_that_the_builder_accepts(name):
    with initialize_config_dir(str(CONFIGS), **RULES):
        data = compose(overrides=[f"+data={name}"]).data
    for key in data:
        if data._get_node(key)._is_missing():  # must be given: a path
            data[key] = "somewhere"
    registry.check("data", config.Data(**data))


def test_every_choice_of_the_group_is_a_data_set_and_all_but_one_are_named_as_it():
    stems = {path.stem for path in (CONFIGS / "data").rglob("*")}
    assert stems == {*registry.names("data"), "shapes_upright"}
    with initialize_config_dir(str(CONFIGS), **RULES):
        assert compose(overrides=["+data=shapes_upright"]).data.name == "shapes"
