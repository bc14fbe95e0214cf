from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import full_disk
from sngan import Config, UserError, open_checkpoint
from sngan.config import Keep
from sngan.data.images import ImageSpec
from sngan.files import read_json
from sngan.networks import build_networks
from sngan.runs import checkpoint
from sngan.runs.checkpoint import FILES, find, latest, load_generator, prune, restore, save, steps_saved
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


@pytest.mark.parametrize("size", [1_000, 100_000, 200_000], ids=["its smallest file", "a network", "the optimisers"])
def test_a_disk_that_fills_in_the_middle_of_a_save_leaves_no_checkpoint(config: Config, size: int) -> None:
    with full_disk(size), pytest.raises(OSError, match="File too large"):
        save(played(config, 2), config, SPEC, Path("checkpoints"))
    assert steps_saved(Path("checkpoints")) == {}
    path = save(played(config, 2), config, SPEC, Path("checkpoints"))
    assert [steps_saved(Path("checkpoints")), list(Path("checkpoints").iterdir())] == [{2: path}, [path]]
    restore(fresh(config), open_checkpoint(path))


def test_what_a_checkpoint_holds_is_on_the_disk_before_it_has_its_name(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut leaves cannot be tried here, so the calls that flush are watched; they are made."""
    fsync, flushed = os.fsync, []

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", watched)
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    partial = f"checkpoints/.partial-{path.name}"
    *files, manifest, inside, outside = flushed
    assert sorted(files) == sorted(f"{partial}/{name}" for name in FILES)
    assert (manifest, inside, outside) == (f"{partial}/.partial-checkpoint.json", partial, "checkpoints")


def test_a_kill_in_the_middle_of_removing_leaves_whole_checkpoints(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill comes when a file or two of a folder are gone; other tests remove in earnest."""
    folder = Path("checkpoints")
    for step in (1, 2, 3):
        save(fresh(config, step), config, SPEC, folder)

    def killed(path: Path) -> None:
        (path / "generator.safetensors").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sngan.files.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(folder, Keep(last=1, every=0), None)
    for path in steps_saved(folder).values():
        load_generator(open_checkpoint(path))
    prune(folder, Keep(last=1, every=0), None)
    assert [path.name for path in folder.iterdir()] == ["step-00000003"]


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
    sign(path, "config.json")
    with pytest.raises(UserError, match=r"generator\.name=os\.system: no such generator"):
        load_generator(open_checkpoint(path))
    assert not Path("hacked").exists()


def test_a_checkpoint_of_the_format_before_was_rounded_to_the_nearest_level(config: Config) -> None:
    state = played(config, 2)
    path = save(state, config, SPEC, Path("checkpoints"))
    values = json.loads((path / "config.json").read_text())
    assert values["protocol"].pop("rounding") == values["quick"].pop("rounding") == "auto"
    (path / "config.json").write_text(json.dumps(values))
    manifest = read_json(path / "checkpoint.json") | {"format": "sngan-checkpoint-3"}
    manifest["sha256"]["config.json"] = checkpoint.sha256_of(path / "config.json")
    (path / "checkpoint.json").write_text(json.dumps(manifest))
    read = open_checkpoint(path).config()
    assert read.protocol is not None
    assert read.quick is not None
    assert (read.protocol.rounding, read.quick.rounding) == ("nearest", "nearest")
    restore(fresh(config), open_checkpoint(path))


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
    for step in range(9):  # step 0 is no milestone
        save(fresh(config, step), config, SPEC, folder)
    assert latest(folder) == folder / "step-00000008"
    prune(folder, Keep(last=2, every=4), best=1)
    assert list(steps_saved(folder)) == [1, 4, 7, 8]


@pytest.mark.parametrize("changes", [{"step": -3}, {"step": "six"}, {"sha256": []}, {"image": {"resolution": "32"}}])
def test_a_manifest_of_nonsense_is_refused(config: Config, changes: dict[str, object]) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    manifest = read_json(path / "checkpoint.json")
    (path / "checkpoint.json").write_text(json.dumps({**manifest, **changes}))
    with pytest.raises(UserError, match=r"is damaged: checkpoint\.json"):
        open_checkpoint(path)


def sign(path: Path, name: str) -> None:
    """Makes a changed file of a checkpoint the one that its manifest knows, as a stranger would."""
    manifest = read_json(path / "checkpoint.json")
    manifest["sha256"][name] = checkpoint.sha256_of(path / name)
    (path / "checkpoint.json").write_text(json.dumps(manifest))


def test_a_state_that_asks_for_code_is_refused_and_not_run(config: Config) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, ("executed",)

    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    torch.save({"G_optimizer": Code(), "D_optimizer": {}}, path / "state.pt")
    sign(path, "state.pt")
    with pytest.raises(UserError, match=r"state\.pt does not fit \(UnpicklingError\)"):
        restore(fresh(config), open_checkpoint(path))
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", ["generator.safetensors", "state.pt", "config.json"])
def test_a_file_that_is_not_the_manifests_is_damaged(config: Config, name: str) -> None:
    path = save(played(config, 2), config, SPEC, Path("checkpoints"))
    content = bytearray((path / name).read_bytes())
    content[-2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"is damaged: {name}"):
        open_checkpoint(path).file(name)


def test_what_asks_for_a_run_gets_its_newest_whole_checkpoint(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    for step in (2, 4):
        save(played(config, step), config, SPEC, Path("run/checkpoints"))
    (Path("run/checkpoints/step-00000004") / "config.json").write_text("{}")
    assert find(Path("run"), None).step == 2
    assert (
        "step-00000004 is damaged: config.json is missing, cut short or changed; the checkpoint before it is taken" in caplog.text
    )


@pytest.mark.parametrize("found", ["sngan-checkpoint-1", "sngan-checkpoint-5", None])
def test_a_checkpoint_of_another_format_is_refused(config: Config, found: str | None) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    manifest = read_json(path / "checkpoint.json")
    (path / "checkpoint.json").write_text(json.dumps({**manifest, "format": found}))
    with pytest.raises(UserError, match=f"has format {found}, this version reads sngan-checkpoint-4, sngan-checkpoint-3"):
        open_checkpoint(path)


def test_the_generator_is_loaded_with_the_weights_that_are_asked_for(config: Config) -> None:
    state = played(config, 2)
    opened = open_checkpoint(save(state, config, SPEC, Path("checkpoints")))
    for which, network in (("ema", state.G_ema), ("raw", state.G)):
        G = load_generator(opened, weights=which)
        assert not any(module.training for module in G.modules())
        for (name, p), q in zip(G.state_dict().items(), network.network.state_dict().values(), strict=True):
            assert torch.equal(p, q), name


def test_loading_draws_no_global_random_number(config: Config) -> None:
    opened = open_checkpoint(save(played(config, 2), config, SPEC, Path("checkpoints")))
    before = torch.get_rng_state()
    load_generator(opened)
    checkpoint.load_discriminator(opened)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_that_is_saved_is_left_as_it_is(config: Config) -> None:
    path = save(played(config, 2), config, SPEC, Path("checkpoints"))
    before = {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in path.iterdir()}
    assert save(fresh(config, 2), config, SPEC, Path("checkpoints")) == path
    assert {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in path.iterdir()} == before


def test_half_a_checkpoint_is_replaced_and_a_copy_with_another_name_is_none(config: Config) -> None:
    half = Path("checkpoints/step-00000002")
    half.mkdir(parents=True)
    (half / "half").write_bytes(b"half")
    assert steps_saved(Path("checkpoints")) == {}
    assert latest(Path("checkpoints")) is None
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    assert not (path / "half").exists()
    shutil.copytree(path, "checkpoints/step-00000009.bak")
    assert steps_saved(Path("checkpoints")) == {2: path}


def test_its_size_is_known_before_it_is_written(config: Config) -> None:
    state = played(config, 2)
    path = save(state, config, SPEC, Path("checkpoints"))
    assert 0 < sum(file.stat().st_size for file in path.iterdir()) - checkpoint.size_of(state) < 50_000


def test_an_optimiser_state_of_another_kind_is_refused(config: Config) -> None:
    path = save(fresh(config, 2), config, SPEC, Path("checkpoints"))
    torch.save({"something": "else"}, path / "state.pt")
    sign(path, "state.pt")
    with pytest.raises(UserError, match=r"state\.pt does not fit"):
        restore(fresh(config), open_checkpoint(path))


def test_a_run_cannot_go_on_with_another_norm(tiny: Callable[..., Config]) -> None:
    save(fresh(tiny(), 2), tiny(), SPEC, Path("checkpoints"))
    other = fresh(tiny("discriminator.scale=learned"))
    with pytest.raises(
        UserError, match=r"does not fit the network of the config: convs.0.gamma is missing.*give another run_dir=DIR"
    ) as refused:
        checkpoint.restore(other, open_checkpoint(Path("checkpoints/step-00000002")))
    assert len(str(refused.value)) < 400
