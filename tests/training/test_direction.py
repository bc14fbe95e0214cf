"""Every update goes where its gradient says: whole training steps through the real optimisers, beside those of a reference of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import reference_step
import torch
from reference_step import (
    ASIDE,
    AXES,
    Direction,
    ReferenceGame,
    apart,
    compared,
    each_choice,
    game_of,
    inputs,
    pairwise_cover,
    state_of,
    together,
    watched,
)
from several_ranks_step import ends, played

from conftest import SHALLOW, composed, needs_a_compiler
from sngan import Config, registry
from sngan.config import DiscriminatorNetwork, GeneratorNetwork
from sngan.precision import precision
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.step import Inputs, train_step

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs"

SMALL = ["generator.widths=[8,6,4,4]", "discriminator.widths=[4,6,8,6,4]"]
ROWS = sorted(path.stem for path in (CONFIGS / "constraint").glob("*.yaml"))


def config_of(words: Sequence[str]) -> Config:
    return composed(*ASIDE, *words)


def check(found: Sequence[Direction], *, tolerance: float = 1e-8) -> None:
    """Each update is the reference's, in direction and in length."""
    assert found
    for name, cosine, ratio, error in found:
        assert cosine > 1 - tolerance, (name, cosine)
        assert abs(ratio - 1) < max(tolerance, 1e-5), (name, ratio)
        assert error < max(tolerance, 1e-4), (name, error)


@pytest.mark.parametrize("words", pairwise_cover(), ids=lambda words: " ".join(word.partition("=")[2] for word in words))
def test_every_update_goes_where_the_textbook_goes(words: list[str]) -> None:
    """Every two choices of different kinds meet in one of these games; `scripts/directions.py` trains their whole product."""
    config = config_of(words)
    check(compared(config, lambda state, batch: train_step(state, game_of(config), batch), steps=2))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("experiment", ["cifar10_cnn", "shapes"])
def test_every_row_of_table_2_goes_where_the_textbook_goes(experiment: str, row: str) -> None:
    small = SMALL if experiment == "cifar10_cnn" else ["generator.widths=[8,6,4,4]", "discriminator.width=4"]
    config = composed(f"experiment={experiment}", f"constraint={row}", *ASIDE, *small)
    check(compared(config, lambda state, batch: train_step(state, game_of(config), batch)))


RESNETS = [
    "generator=resnet", "generator.widths=[8,6,4,4]", "discriminator=resnet", "discriminator.widths=[4,6,6]",
    "discriminator.downsample=[true,true,false]",
]  # fmt: skip
MORE_GAMES = {
    "r2": ["conditional=true", "discriminator=dcgan", "discriminator.width=4", "generator=cnn", SMALL[0], "regularizer=r2"],
    "map": ["discriminator=dcgan", "discriminator.width=4", "generator=cnn", SMALL[0], "discriminator.norm_of=map"],
    "map, resampling and a penalty": [*RESNETS, "conditional=true", "discriminator.norm_of=map", "regularizer=gradient_penalty"],
    "map in both": [
        "discriminator=cnn", "generator=cnn", *SMALL, "discriminator.norm_of=map", "discriminator.scale=learned",
        "generator.normalization=spectral", "generator.norm_of=map", "regularizer=r1",
    ],
    "bjorck": [*RESNETS, "discriminator.normalization=bjorck", "discriminator.scale=1.5", "loss=bce"],
    "bjorck and a penalty": [
        "discriminator=cnn", "generator=cnn", *SMALL, "discriminator.normalization=bjorck", "regularizer=gradient_penalty",
    ],
    "bjorck in both": [
        "discriminator=dcgan", "discriminator.width=4", "generator=cnn", SMALL[0], "discriminator.normalization=bjorck",
        "discriminator.power_iterations=2", "generator.normalization=bjorck",
    ],
    "augment": ["discriminator=cnn", "generator=cnn", *SMALL, "augment=none"],
    "diffaugment": [
        "discriminator=cnn", "generator=cnn", *SMALL, "augment=diffaugment", "regularizer=r1_r2", "loss=relativistic_pair", "conditional=true",
    ],
    "diffaugment and batch statistics": [
        "discriminator=cnn", "generator=cnn", *SMALL, "augment=diffaugment", "discriminator.normalization=batch", "loss=bce",
    ],
    "ada": [
        "discriminator=cnn", "generator=cnn", *SMALL, "augment=ada", "augment.p=0.6", "augment.images=160", "regularizer=lecam",
    ],
    "ada and a penalty": [
        "discriminator=cnn", "generator=cnn", *SMALL, "augment=ada", "augment.p=0.6", "augment.target=null",
        "regularizer=gradient_penalty", "loss=wasserstein", "discriminator.normalization=none",
    ],
}  # fmt: skip
"""Games of what is chosen seldom, and so is left out of the cover."""


@pytest.mark.parametrize("game", MORE_GAMES)
def test_what_is_chosen_seldom_goes_where_its_formulas_go(game: str) -> None:
    config = config_of(MORE_GAMES[game])
    check(compared(config, lambda state, batch: train_step(state, game_of(config), batch)))


def test_the_games_show_all_that_can_be_asked_for() -> None:
    """A new loss, network, norm or regulariser is to be given its formula in the reference, and its place among the games."""
    shown = {word for choices in [*AXES.values(), MORE_GAMES.values()] for choice in choices for word in choice}
    for group in ("generator", "discriminator", "loss", "regularizer", "augment"):
        for path in (CONFIGS / group).glob("*.yaml"):
            assert f"{group}={path.stem}" in shown or path.stem in ("dcgan_small",), path  # dcgan with another width
        named = {composed(*ASIDE, word).model_dump()[group]["name"] for word in shown if word.startswith(f"{group}=")}
        assert named == set(registry.names(group))
    for role, options in (("generator", GeneratorNetwork), ("discriminator", DiscriminatorNetwork)):
        for norm in get_args(options.model_fields["normalization"].annotation):
            assert f"{role}.normalization={norm}" in shown


FEW = {
    "spectral": ["discriminator=dcgan", "discriminator.width=4", "generator=cnn", "generator.widths=[8,6,4,4]"],
    "wgan_gp": ["experiment=cifar10_cnn", "constraint=wgan_gp", *SMALL],
    "r1, spectral norm in both": [
        "discriminator=cnn", "generator=cnn", *SMALL, "regularizer=r1", "discriminator.scale=learned", "generator.normalization=spectral",
    ],
    "conditional": [
        "conditional=true", "generator=resnet", "generator.widths=[8,6,4,4]", "discriminator=resnet", "discriminator.widths=[4,6,6]",
        "discriminator.downsample=[true,true,false]",
    ],
}  # fmt: skip
"""Games that each precision and several ranks are tried on."""


@needs_a_compiler
def test_compiled_networks_go_where_the_textbook_goes() -> None:
    """One game that has a penalty and both spectral norms, as compiling takes longer than all other games here."""
    torch._dynamo.reset()
    config = config_of([*FEW["r1, spectral norm in both"], *SHALLOW])
    engines: dict[int, engine.Engine] = {}

    def step(state: TrainState, batch: Inputs) -> None:
        if id(state) not in engines:
            engines[id(state)] = engine.build("compile", state, game_of(config))
        engines[id(state)](batch)

    check(compared(config, step))


@pytest.mark.parametrize("game", FEW)
def test_float32_goes_where_the_textbook_goes(game: str) -> None:
    check_matrices(config_of(FEW[game]), steps=reference_step.STEPS, least=0.999)


@pytest.mark.parametrize("game", FEW)
def test_bfloat16_goes_the_same_way(game: str) -> None:
    """Adam gives a number of either sign the same length, so that rounding turns those near 0; a permuted gradient has the cosine 0."""
    check_matrices(config_of([*FEW[game], "precision=bf16"]), steps=1, least=0.3)


def check_matrices(config: Config, *, steps: int, least: float) -> None:
    """The updates of weight matrices, in float32 or less."""

    def step(state: TrainState, batch: Inputs) -> None:
        with precision(config.precision, CPU):
            train_step(state, game_of(config), batch)

    matrices = [name for name, p in watched(state_of(config, torch.float32)).items() if p.dim() > 1]
    found = {d.name: d for d in compared(config, step, dtype=torch.float32, steps=steps)}
    for name in matrices:
        assert found[name].cosine > least, found[name]
        assert found[name].ratio == pytest.approx(1, abs=0.2), found[name]


@pytest.mark.parametrize("game", FEW)
def test_micro_batches_go_where_the_textbook_goes_on_the_mean_of_their_losses(game: str) -> None:
    """Batch statistics are each micro-batch's own."""
    config = config_of([*FEW[game], "accumulate=2"])
    state = state_of(config, torch.float64)
    reference, before = ReferenceGame(state, config), {key: p.detach().clone() for key, p in watched(state).items()}
    for i in range(reference_step.STEPS):
        batch = together([inputs(config, i, rank=half) for half in (0, 1)])
        train_step(state, game_of(config), batch)
        reference.step(*apart(batch, 2))
    check(reference_step.directions(before, state, reference, steps=reference_step.STEPS))


TINIEST = ["discriminator=cnn", "discriminator.widths=[4,6,4]", "generator=cnn_small", "generator.widths=[8,4]"]


SPLIT = [*AXES["loss"][:-2], ["loss=relativistic_pair", "d_steps=1"], *AXES["regularizer"]]
"""Without relativistic_average, which is refused; differences of logits give the last bias of D no gradient but rounding, which Adam enlarges."""


@pytest.mark.parametrize("choice", SPLIT, ids=" ".join)
def test_micro_batches_are_one_batch_where_images_do_not_see_each_other(choice: list[str]) -> None:
    """G has its running statistics here. Each statistic, u, v, and the gradients in the moments agree; so do the weights, as far as Adam
    does not make 1e-9 of a gradient that is nothing but rounding."""
    unbounded = choice == ["regularizer=spectral_regularization"]
    norms = ["discriminator.normalization=none"] if unbounded else ["generator.normalization=spectral"]
    config, left = config_of([*TINIEST, *choice, *norms]), []
    for n in (1, 2):
        state = state_of(config, torch.float64)
        state.G.eval()
        said = train_step(state, game_of(config)._replace(accumulate=n), inputs(config, 0))
        left.append({**ends(state), "said": said})
    whole, split = left
    for key in ("said", "D_", "G_"):
        torch.testing.assert_close(split[key], whole[key], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(split, whole, rtol=1e-9, atol=1e-9)


ACCUMULATED = {f"{name}, accumulated": [*FEW[name], "sync_batch_norm=true", "accumulate=2"] for name in ("wgan_gp", "conditional")}
"""Two ranks of two micro-batches each, which are to be one rank of two micro-batches."""

ONE_BATCH = {f"game {i}": [*words, "sync_batch_norm=true", f"d_steps={1 + i % 2}"] for i, words in enumerate(each_choice())}
"""Games of two ranks that are to be those of one rank on the batches of both."""


class Ranks(NamedTuple):
    configs: dict[str, Config]
    folder: Path

    n: int

    def ends(self, name: str) -> list[dict[str, Any]]:
        return [torch.load(self.folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(self.n)]


def ranks(n: int, games: dict[str, list[str]], folder: Path) -> Ranks:
    """What so many real processes over gloo, each with its part of the images, have at the end of each game."""
    here = Path(__file__).parents[1]
    configs = {name: config_of(words) for name, words in games.items()}
    values = {name: config.model_dump(mode="json") for name, config in configs.items()}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, f"--nproc-per-node={n}", str(here / "several_ranks_step.py")]
    paths = os.pathsep.join([str(here), str(here.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, json.dumps(values)], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Ranks(configs, folder, n)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return ranks(2, FEW | ONE_BATCH | ACCUMULATED, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", FEW)
def test_two_ranks_go_where_the_textbook_goes_on_the_batches_of_both(name: str, two_ranks: Ranks) -> None:
    """Batch statistics are each rank's own."""
    config = two_ranks.configs[name]
    state = state_of(config, torch.float64)
    reference, before = ReferenceGame(state, config), {key: p.detach().clone() for key, p in watched(state).items()}
    for i in range(reference_step.STEPS):
        reference.step(inputs(config, i, rank=0), inputs(config, i, rank=1))
    first, second = two_ranks.ends(name)
    for key, network in state.networks().items():
        for tensor, _ in network.named_parameters():
            assert torch.equal(first[key][tensor], second[key][tensor]), (key, tensor)
        network.load_state_dict(first[key])
    check(reference_step.directions(before, state, reference, steps=reference_step.STEPS))


@pytest.mark.parametrize("name", ONE_BATCH | ACCUMULATED)
def test_two_ranks_are_one_rank_on_the_batches_of_both(name: str, two_ranks: Ranks) -> None:
    check_one_batch(two_ranks, name)


def check_one_batch(ran: Ranks, name: str) -> None:
    """With synchronised batch norm: each loss, penalty and mean logit of each step, and u, v, running statistics, moments, and weights.

    Where a gradient is nothing but rounding, that of a bias before a norm say, Adam makes a hundredth of a step of it.
    """
    config = ran.configs[name]
    given = [[apart(inputs(config, i, rank=rank), config.accumulate) for rank in range(ran.n)] for i in range(reference_step.STEPS)]
    batches = [together([part for parts in zip(*of_step, strict=True) for part in parts]) for of_step in given]
    expected = played(config, batches)
    first, *others = ran.ends(name)
    for other in others:
        torch.testing.assert_close(first, other, rtol=0, atol=0)
    for key in ("said", "D_", "G_"):
        torch.testing.assert_close(first[key], expected[key], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(first, expected, rtol=1e-7, atol=2e-5)


def test_three_ranks_are_one_rank_on_the_batches_of_all(tmp_path: Path) -> None:
    """A game with a penalty, and one with projection."""
    ran = ranks(3, {name: [*FEW[name], "sync_batch_norm=true"] for name in ("wgan_gp", "conditional")}, tmp_path)
    for name in ran.configs:
        check_one_batch(ran, name)
