from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sngan import Config, UserError, load_generator, open_checkpoint
from sngan.config import Keep
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.runs import checkpoint
from sngan.runs.checkpoint import prune, restore, save, steps_saved
from sngan.state import TrainState, initial_state

SPEC = ImageSpec(32, 3, 0)


@pytest.fixture
def config(tiny: Callable[..., Config]) -> Config:
    return tiny("run_dir=run")


def fresh(config: Config, step: int = 0) -> TrainState:
    state = initial_state(config, *build_networks(config, SPEC), torch.device("cpu"))
    state.step = step
    return state


def played(config: Config, step: int) -> TrainState:
    """A state whose every tensor differs from the initial one."""
    state = fresh(config, step)
    for network, optimizer in ((state.G, state.G_optimizer), (state.D, state.D_optimizer)):
        for p in network.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        optimizer.zero_grad()
        for buffer in network.buffers():
            buffer.add_(1)
    for p in state.G_ema.parameters():
        p.data.mul_(0.5)
    return state


def test_restoring_gives_back_every_tensor(config: Config) -> None:
    state, other = played(config, 7), fresh(config)
    restore(other, open_checkpoint(save(state, config, SPEC, Path("checkpoints"))))
    assert other.step == 7
    for name, network in state.networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(other.networks()[name].state_dict()[key], value), key
    for a, b in ((state.G_optimizer, other.G_optimizer), (state.D_optimizer, other.D_optimizer)):
        for index, moments in a.state_dict()["state"].items():
            for key, value in moments.items():
                assert torch.equal(b.state_dict()["state"][index][key], value)


def test_restoring_copies_into_the_tensors_there_are(config: Config) -> None:
    state = fresh(config)
    before = [p.data_ptr() for p in state.G.parameters()]
    restore(state, open_checkpoint(save(played(config, 3), config, SPEC, Path("checkpoints"))))
    assert [p.data_ptr() for p in state.G.parameters()] == before


def test_an_interrupted_save_leaves_no_checkpoint(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    assert steps_saved(Path("checkpoints")) == {}


def test_leftovers_of_an_interrupted_save_are_removed_by_the_next(config: Config) -> None:
    leftover = Path("checkpoints/.partial-step-00000002")
    leftover.mkdir(parents=True)
    save(fresh(config, 4), config, SPEC, Path("checkpoints"))
    prune(Path("checkpoints"), Keep(last=1, every=0), None)
    assert not leftover.exists()


def test_nothing_in_a_checkpoint_is_code(config: Config) -> None:
    path = save(played(config, 2), config, SPEC, Path("checkpoints"))
    assert torch.load(path / "state.pt", weights_only=True).keys() == {"G_optimizer", "D_optimizer"}
    assert sorted(file.suffix for file in path.iterdir()) == [
        ".json",
        ".json",
        ".pt",
        ".safetensors",
        ".safetensors",
        ".safetensors",
    ]


def test_a_config_with_an_import_path_in_place_of_a_name_is_refused(config: Config) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    values = json.loads((path / "config.json").read_text())
    values["generator"] |= {"name": "os.system", "_target_": "os.system", "command": "touch hacked"}
    (path / "config.json").write_text(json.dumps(values))
    manifest = json.loads((path / "checkpoint.json").read_text())
    manifest["sha256"]["config.json"] = checkpoint.sha256_of(path / "config.json")
    (path / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"generator\.name=os\.system: no such generator"):
        load_generator(open_checkpoint(path))
    assert not Path("hacked").exists()


def test_a_checkpoint_of_the_format_before_was_rounded_to_the_nearest_level(config: Config) -> None:
    state = played(config, 2)
    path = save(state, config, SPEC, Path("checkpoints"))
    values = json.loads((path / "config.json").read_text())
    assert values["protocol"].pop("rounding") == values["quick"].pop("rounding") == "auto"
    (path / "config.json").write_text(json.dumps(values))
    manifest = json.loads((path / "checkpoint.json").read_text()) | {"format": "sngan-checkpoint-3"}
    manifest["sha256"]["config.json"] = checkpoint.sha256_of(path / "config.json")
    (path / "checkpoint.json").write_text(json.dumps(manifest))
    read = open_checkpoint(path).config()
    assert read.protocol is not None
    assert read.quick is not None
    assert (read.protocol.rounding, read.quick.rounding) == ("nearest", "nearest")
    restore(fresh(config), open_checkpoint(path))


def test_an_unknown_format_is_refused(config: Config) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    manifest = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**manifest, "format": "sngan-checkpoint-2"}))
    with pytest.raises(
        UserError, match="has format sngan-checkpoint-2, this version reads sngan-checkpoint-4 and sngan-checkpoint-3"
    ):
        open_checkpoint(path)


def test_plugins_of_a_checkpoint_are_not_imported(tiny: Callable[..., Config]) -> None:
    config = tiny("run_dir=run").model_copy(update={"plugins": ("a_module_that_does_not_exist",)})
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    assert load_generator(open_checkpoint(path)).z_dim == 128


def test_weights_of_another_network_are_refused(config: Config, tiny: Callable[..., Config]) -> None:
    wider = tiny("generator.widths=[32,8,8,8]")
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    with pytest.raises(UserError, match="does not fit the network"):
        checkpoint.load_tensors(fresh(wider).G.network, path / "generator.safetensors")


def test_the_last_few_the_milestones_and_the_best_are_kept(config: Config) -> None:
    folder = Path("checkpoints")
    for step in range(1, 9):
        save(fresh(config, step), config, SPEC, folder)
    prune(folder, Keep(last=2, every=3), best=1)
    assert list(steps_saved(folder)) == [1, 3, 6, 7, 8]


@pytest.mark.parametrize("changes", [{"step": -3}, {"step": "six"}, {"sha256": []}, {"image": {"resolution": "32"}}])
def test_a_manifest_of_nonsense_is_refused(config: Config, changes: dict[str, object]) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    manifest = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**manifest, **changes}))
    with pytest.raises(UserError, match=r"is damaged: checkpoint\.json"):
        open_checkpoint(path)


def test_an_optimiser_state_of_another_kind_is_refused(config: Config) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    torch.save({"something": "else"}, path / "state.pt")
    manifest = json.loads((path / "checkpoint.json").read_text())
    manifest["sha256"]["state.pt"] = checkpoint.sha256_of(path / "state.pt")
    (path / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"state\.pt does not fit"):
        restore(fresh(config), open_checkpoint(path))


def test_a_run_cannot_go_on_with_another_norm(tiny: Callable[..., Config]) -> None:
    save(fresh(tiny(), 2), tiny(), SPEC, Path("checkpoints"))
    other = fresh(tiny("discriminator.scale=learned"))
    with pytest.raises(
        UserError, match=r"does not fit the network of the config: Missing key.*give another run_dir=DIR"
    ) as refused:
        checkpoint.restore(other, open_checkpoint(Path("checkpoints/step-00000002")))
    assert len(str(refused.value)) < 400
