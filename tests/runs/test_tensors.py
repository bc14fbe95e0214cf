"""Tensors in a stranger's checkpoint: what they say of themselves is not believed."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TINY, composed
from sngan import UserError
from sngan.data.images import ImageSpec
from sngan.files import read_json, write_json
from sngan.networks import build_networks
from sngan.provenance import sha256_of
from sngan.runs.checkpoint import load_discriminator, load_generator, open_checkpoint, restore, save
from sngan.state import TrainState, initial_state

SPEC = ImageSpec(32, 3, 0)


@pytest.fixture(scope="module")
def state() -> TrainState:
    """For tests that do not change it."""
    config = composed(*TINY)
    return initial_state(config, *build_networks(config, SPEC), torch.device("cpu"))


@pytest.fixture(scope="module")
def saved(state: TrainState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(state, composed(*TINY), SPEC, tmp_path_factory.mktemp("run"))


@pytest.fixture
def path(saved: Path) -> Path:
    """A checkpoint, to be changed."""
    return Path(shutil.copytree(saved, f"checkpoints/{saved.name}"))


def change(path: Path, name: str, content: bytes) -> None:
    """Changes a file and signs it, as a stranger would."""
    (path / name).write_bytes(content)
    manifest = read_json(path / "checkpoint.json")
    manifest["sha256"][name] = sha256_of(path / name)
    write_json(path / "checkpoint.json", manifest, sealed=True)


def change_config(path: Path, **values: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    for key, value in values.items():
        *groups, last = key.split("__")
        section = config
        for group in groups:
            section = section[group]
        section[last] = value
    change(path, "config.json", json.dumps(config).encode())


def pickled(content: Any) -> bytes:
    written = io.BytesIO()
    torch.save(content, written)
    return written.getvalue()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(path: Path, value: float) -> None:
    file = path / "generator.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name].view(-1)[0] = value
    save_file(tensors, file)
    change(path, file.name, file.read_bytes())
    with pytest.raises(UserError, match=rf"generator.safetensors: {name} holds NaN or infinity"):
        load_generator(open_checkpoint(path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ema__recalibrate": 10**12}, r"ema\.recalibrate=1000000000000: input should be less than or equal to"),
        ({"g_batch": 10**12}, r"g_batch=1000000000000: input should be less than or equal to"),
        ({"ema__recalibrate": 1000, "g_batch": 2000}, "more than 1000000 samples"),
        ({"data__workers": 10**6}, r"data\.workers=1000000: input should be less"),
        ({"generator__widths": [8192, 8192, 8192, 8192]}, r"does not fit the network of the config: this takes 12953\.9 MB, the file has 0\.\d"),
        ({"generator__widths": [10**9, 8, 8, 8]}, r"generator\.widths\.0=1000000000: input should be less"),
        ({"generator__widths": [1] * 10**5}, r"generator\.widths=.*at most 32 items"),
        ({"generator__z_dim": 10**9}, r"generator\.z_dim=1000000000: input should be less"),
    ],
)  # fmt: skip
def test_a_config_beyond_any_machine_is_refused(path: Path, changes: dict[str, Any], said: str) -> None:
    change_config(path, **changes)
    with pytest.raises(UserError, match=said):
        load_generator(open_checkpoint(path))


def test_a_discriminator_beyond_its_file_is_refused(path: Path) -> None:
    change_config(path, discriminator__widths=[8192, 8192, 8192])
    with pytest.raises(
        UserError, match=r"discriminator\.safetensors does not fit the network of the config: this takes \d+\.\d MB"
    ):
        load_discriminator(open_checkpoint(path))


def test_images_beyond_any_memory_are_refused(path: Path) -> None:
    change_config(path, g_batch=60_000, ema__recalibrate=2)
    manifest = read_json(path / "checkpoint.json")
    manifest["image"]["resolution"] = 1024
    write_json(path / "checkpoint.json", manifest, sealed=True)
    with pytest.raises(UserError, match="g_batch=60000 images of 3 x 1024 px do not fit"):
        load_generator(open_checkpoint(path))


class Array:
    def __reduce__(self) -> tuple[object, ...]:
        return bytearray, (10**12,)


def packed(content: bytes, *, kind: int = zipfile.ZIP_STORED, most: int | None = None) -> bytes:
    """The same archive, compressed as a bomb is, or with members that are cut short."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w", kind) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member)[: most if "/data/" in member.filename else None])
    return written.getvalue()


STATES = {
    "an expanded view": (pickled({"G_optimizer": {0: {"exp_avg": torch.zeros(1).expand(10**10)}}}), "ValueError|moments of 1 parameters"),
    "an array of a size": (pickled({"G_optimizer": Array()}), "UnpicklingError"),
    "compressed": (packed(pickled({"G_optimizer": torch.zeros(10**6)}), kind=zipfile.ZIP_DEFLATED), "it is compressed"),
    "shorter than it says": (packed(pickled({"G_optimizer": torch.zeros(10**6)}), most=16), "RuntimeError"),
    "a pickle alone": (pickle.dumps({"G_optimizer": {}}), "BadZipFile"),
    "nothing": (b"", "BadZipFile"),
    "no networks": (pickled([1]), "TypeError"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), STATES.values(), ids=STATES)
def test_a_state_of_another_kind_is_refused(path: Path, state: TrainState, content: bytes, said: str) -> None:
    change(path, "state.pt", content)
    with pytest.raises(UserError, match=rf"state\.pt does not fit \(.*({said})"):
        restore(state, open_checkpoint(path))


def test_a_link_in_the_place_of_a_checkpoint_or_its_file_is_refused(path: Path) -> None:
    (path / "generator.safetensors").rename("elsewhere")
    (path / "generator.safetensors").symlink_to(Path("elsewhere").absolute())
    with pytest.raises(UserError, match=r"damaged: generator\.safetensors"):
        load_generator(open_checkpoint(path))
