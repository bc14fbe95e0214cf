from __future__ import annotations

import pytest
import torch

from sngan import UserError, devices


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two GPUs; the list holds which became the current one. Where there is a real one, test_engine.py trains on it."""
    current: list[torch.device] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", current.append)
    return current


@pytest.mark.parametrize(("asked", "number"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_is_chosen_by_number_and_becomes_the_current_one(asked: str, number: int, two_cards: list[torch.device]) -> None:
    assert devices.resolve(asked) == torch.device("cuda", number)
    assert two_cards == [torch.device("cuda", number)]


def test_a_gpu_that_is_not_there_is_refused(two_cards: list[torch.device]) -> None:
    with pytest.raises(UserError, match="device=cuda:2: there are GPUs 0 to 1"):
        devices.resolve("cuda:2")


def test_each_rank_has_the_gpu_of_its_number_and_no_other(two_cards: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TORCHELASTIC_RUN_ID": "none",
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
    }.items():
        monkeypatch.setenv(name, value)
    assert devices.resolve("auto") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="each of several ranks has a GPU of its own"):
        devices.resolve("cuda:0")
