from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sngan import Config, UserError
from sngan.config import due, parse

Tiny = Callable[..., Config]


def values(tiny: Tiny, **changes: object) -> dict[str, object]:
    return {**tiny("run_dir=run").model_dump(mode="json"), **changes}


def test_a_config_survives_json(tiny: Tiny) -> None:
    config = tiny("run_dir=run")
    assert parse(Config, json.loads(config.model_dump_json())) == config


def test_a_config_is_frozen(tiny: Tiny) -> None:
    with pytest.raises(Exception, match="frozen"):
        tiny().steps = 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps=0: input should be greater than 0"),
        ({"steps": "10"}, "steps=10: input should be a valid integer"),
        ({"batch": True}, "batch=True: input should be a valid integer"),
        ({"seed": -1}, "seed=-1: input should be greater than or equal to 0"),
        ({"device": "tpu"}, "device=tpu: input should be auto, cpu, cuda, cuda:N for the GPU"),
        (
            {"optimizer": {"lr": 1e-3, "betas": [0.0, 1.0], "decay": "none"}},
            r"optimizer\.betas\.1=1\.0: input should be less than 1",
        ),
        ({"optimizer": {"lr": 1e-3, "betas": [0.5], "decay": "none"}}, r"optimizer\.betas"),
        (
            {"optimizer": {"lr": 1e-3, "betas": [0.0, 0.9], "decay": "none", "momentum": 1}},
            r"unknown key optimizer\.momentum; allowed: betas",
        ),
        ({"optimizer": {"lr": float("inf"), "betas": [0.0, 0.9], "decay": "none"}}, r"optimizer\.lr=inf"),
        ({"stepps": 3}, r"unknown key stepps; did you mean steps\?"),
    ],
)
def test_faults_are_one_line_that_names_the_key(tiny: Tiny, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        parse(Config, values(tiny, **changes))
    assert "\n" not in str(error.value)


def test_options_of_components_are_checked_with_the_config(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"loss\.saturating=3"):
        parse(Config, values(tiny, loss={"name": "bce", "saturating": 3}))


def test_due_at_every_multiple_and_an_interval_of_0_never() -> None:
    assert [step for step in range(7) if due(step, 3)] == [0, 3, 6]
    assert not any(due(step, 0) for step in range(7))


def test_a_network_has_the_rate_and_betas_of_both_but_for_its_own(tiny: Tiny) -> None:
    optimizer = tiny("optimizer.lr=1e-3", "optimizer.d.lr=4e-3", "optimizer.g.betas=[0.5,0.9]").optimizer
    assert [(one.lr, one.betas) for one in (optimizer.of("g"), optimizer.of("d"))] == [(1e-3, (0.5, 0.9)), (4e-3, (0.0, 0.9))]
    assert {tiny("optimizer.lr=5e-3").optimizer.of(network).lr for network in ("g", "d")} == {5e-3}
