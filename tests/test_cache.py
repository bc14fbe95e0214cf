"""Results that are kept between runs."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from conftest import full_disk
from sngan.cache import Tensors, _checksum
from sngan.cache import remembered as remembered_if
from sngan.evaluation.reference import is_fit
from sngan.processes import cache_folder

MADE_FROM = {"images": "abc", "n": 3}
HOLDS = {"mu": 1, "sigma": 2}


def remembered(kind: str, made_from: dict[str, Any], holds: dict[str, int], make: Callable[[], Tensors]) -> Tensors:
    return remembered_if(kind, made_from, make, fits=lambda found: is_fit(found, holds))


def maker(value: float = 1.0) -> tuple[Callable[[], Tensors], list[None]]:
    """Something to remember, and a list that grows with each time that it is made."""
    made: list[None] = []

    def make() -> Tensors:
        made.append(None)
        return {"mu": torch.full((2,), value), "sigma": torch.arange(6, dtype=torch.float64).view(3, 2).T}

    return make, made


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SNGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "sngan"


def test_what_was_made_once_is_read_the_next_time_bit_for_bit() -> None:
    make, made = maker()
    first, second = (remembered("kind", MADE_FROM, HOLDS, make) for _ in range(2))
    assert len(made) == 1
    assert first.keys() == second.keys() == {"mu", "sigma"}
    assert all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)


@pytest.mark.parametrize(("kind", "made_from"), [("other", MADE_FROM), ("kind", {"images": "abd", "n": 3}), ("kind", {"n": 3})])
def test_what_is_made_from_something_else_is_something_else(kind: str, made_from: dict[str, object]) -> None:
    remembered("kind", MADE_FROM, HOLDS, maker(1.0)[0])
    assert remembered(kind, made_from, HOLDS, maker(2.0)[0])["mu"].tolist() == [2.0, 2.0]
    assert remembered("kind", MADE_FROM, HOLDS, maker(3.0)[0])["mu"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda _: b"half a file", lambda whole: whole[:-5], lambda whole: whole[:-1] + bytes([whole[-1] ^ 1])]
)
def test_a_damaged_file_is_made_anew(damage: Callable[[bytes], bytes]) -> None:
    make, made = maker()
    remembered("kind", MADE_FROM, HOLDS, make)
    (file,) = cache_folder().iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert remembered("kind", MADE_FROM, HOLDS, make)["mu"].tolist() == [1.0, 1.0]
    assert remembered("kind", MADE_FROM, HOLDS, make)["mu"].tolist() == [1.0, 1.0]
    assert len(made) == 2


def zeros(**shapes: tuple[int, ...]) -> Tensors:
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "held",
    [
        zeros(mu=(2,)),
        zeros(mu=(2,), sigma=(2, 2), root=(2, 2)),
        zeros(mu=(), sigma=(2, 2)),
        zeros(mu=(), sigma=()),
        zeros(mu=(3,), sigma=(2, 2)),
        zeros(mu=(2,), sigma=(2, 2)) | {"mu": torch.tensor([1.0, math.nan])},
        zeros(mu=(2,), sigma=(2, 2)) | {"mu": torch.tensor([1, 2])},
    ],
)
def test_a_file_that_holds_other_tensors_is_made_anew(held: Tensors) -> None:
    remembered("kind", MADE_FROM, HOLDS, maker()[0])
    (file,) = cache_folder().iterdir()
    save_file(held, file, metadata=_checksum(held))
    make, made = maker()
    for _ in range(2):
        assert remembered("kind", MADE_FROM, HOLDS, make).keys() == HOLDS.keys()
    assert len(made) == 1


def test_what_is_interrupted_leaves_nothing() -> None:
    def interrupted() -> Tensors:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remembered("kind", MADE_FROM, HOLDS, interrupted)
    assert not list(cache_folder().iterdir())


def test_a_folder_that_cannot_be_written_costs_time_alone_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert remembered("features", MADE_FROM, HOLDS, maker()[0])["mu"].tolist() == [1.0, 1.0]
    assert "features cannot be kept and will be computed again; set SNGAN_CACHE to another folder" in caplog.text


def test_what_is_quick_to_make_is_made_again_without_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path / "file"))
    assert remembered_if("shapes", MADE_FROM, maker()[0], fits=lambda _: True, quiet=True)["mu"].tolist() == [1.0, 1.0]
    assert not caplog.records


def test_a_disk_that_fills_while_it_writes_costs_time_alone_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    large = {"x": torch.arange(100_000.0)}
    with full_disk(50_000):
        found = remembered("features", MADE_FROM, {"x": 1}, lambda: large)
    assert torch.equal(found["x"], large["x"])
    assert "features cannot be kept and will be computed again" in caplog.text
    assert not list(cache_folder().iterdir())


def test_two_processes_may_write_read_and_delete_the_same_result_at_once() -> None:
    program = """
import torch
from sngan.cache import remembered
from sngan.processes import cache_folder

expected = torch.arange(100_000.0)
for i in range(60):
    assert torch.equal(remembered("kind", {"n": 1}, lambda: {"x": expected}, fits=lambda found: set(found) == {"x"})["x"], expected)
    if i % 3 == 0:
        for file in cache_folder().glob("kind-*"):
            file.unlink(missing_ok=True)
remembered("kind", {"n": 1}, lambda: {"x": expected}, fits=lambda found: set(found) == {"x"})
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (file,) = cache_folder().iterdir()
    assert file.name.startswith("kind-")
