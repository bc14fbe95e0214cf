"""What the modes show, picture by picture, of a run that takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import finished_run
from sngan import devices, registry
from sngan.config import Component
from sngan.runs.checkpoint import find
from sngan.sampling.figures import Sheet
from sngan.sampling.modes.mode import Ask
from sngan.sampling.request import Sample
from sngan.sampling.sampling import samples
from sngan.sampling.video import FPS


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of seed 3."""
    return finished_run(tmp_path_factory.mktemp("plain"), "protocol=none", "seed=3", "keep.last=9")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the ten classes of the shapes, which it learns to tell apart in its few steps."""
    networks = ["generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet", "discriminator.widths=[8,8,8,8]"]
    return finished_run(
        tmp_path_factory.mktemp("conditional"), "protocol=none", "conditional=true", *networks, "optimizer.lr=0.1", "ema.decay=0"
    )


def asked(run: Path, mode: Component, **keys: Any) -> Ask:
    """What the mode is asked, as a request made definite."""
    checkpoint = find(run, None)
    request = Sample(
        run=run,
        checkpoint=None,
        weights=keys.pop("weights", "ema"),
        mode=mode,
        n=None,
        seed=None,
        label=None,
        out=None,
        device="cpu",
        plugins=(),
    )
    given = {"seeds": (0,), "n": 3, "labels": tuple(range(checkpoint.spec.n_classes)), "out": Path("film.gif"), **keys}
    return Ask(request=request, checkpoint=checkpoint, config=checkpoint.config(), device=devices.resolve("cpu"), **given)


def sheets(run: Path, name: str, options: dict[str, Any], **keys: Any) -> list[Sheet]:
    """All frames of a mode."""
    mode = Component(name=name, **options)
    return list(registry.build("mode", mode).sheets(asked(run, mode, **keys)))


def images(ask: Ask, y: Tensor | None = None) -> Tensor:
    """What `mode=images` shows of the same latents."""
    G = ask.generator()
    return torch.cat(list(samples(G, ask.latents(G), ask.y(ask.n_latents) if y is None else y, rounding=ask.rounding)))


def same(a: Tensor, b: Tensor) -> bool:
    """But for the rounding of a level, because the batch is another."""
    return bool((a.int() - b.int()).abs().max() <= 1)


IMAGES = Component(name="images")
LEG = {"seconds": 2 / FPS}
"""Two frames from one latent to the next."""


def test_a_film_passes_the_images_of_its_seed(plain: Path) -> None:
    film = sheets(plain, "interpolate", LEG, n=3)
    assert len(film) == 6
    for seed_image, frame in zip(images(asked(plain, IMAGES, n=3)), film[::2], strict=True):
        assert same(frame.images[0], seed_image)
    assert not same(film[0].images, film[1].images)


def test_each_seed_has_a_panel_of_its_own(plain: Path) -> None:
    several = sheets(plain, "interpolate", LEG, seeds=(5, 7), n=2)
    assert several[0].under == ["seed 5", "seed 7"]
    for panel, seed in enumerate((5, 7)):
        alone = sheets(plain, "interpolate", LEG, seeds=(seed,), n=2)
        assert all(same(frame.images[panel], single.images[0]) for frame, single in zip(several, alone, strict=True))


def test_panels_of_a_conditional_run_take_the_classes_in_turn(conditional: Path) -> None:
    film = sheets(conditional, "interpolate", LEG, seeds=(0, 1, 2), n=2, labels=(4, 6))
    assert film[0].under == ["seed 0, class 4", "seed 1, class 6", "seed 2, class 4"]
    first = asked(conditional, IMAGES, seeds=(1,), n=1, labels=(6,))
    assert same(film[0].images[1], images(first)[0])


def test_the_pictures_that_the_run_drew_are_what_its_checkpoints_draw(plain: Path) -> None:
    drawn = sheets(plain, "training", {"source": "samples", "seconds": 1 / FPS}, seeds=(3,), n=5)
    made = sheets(plain, "training", {"source": "checkpoints", "seconds": 1 / FPS}, seeds=(3,), n=5)
    named = [{sheet.over: sheet.images for sheet in film} for film in (drawn, made)]
    assert list(named[0]) == ["step 0", "step 3", "step 6"]
    assert list(named[1]) == ["step 2", "step 4", "step 6"]
    assert same(named[0]["step 6"], named[1]["step 6"])
    assert not same(named[1]["step 2"], named[1]["step 6"])


def test_the_last_step_is_shown_longer(plain: Path) -> None:
    film = [sheet.over for sheet in sheets(plain, "training", {"source": "samples", "seconds": 3 / FPS}, seeds=(3,), n=1)]
    assert film[:6] == ["step 0"] * 3 + ["step 3"] * 3
    assert film[6:] == ["step 6"] * (3 + 2 * FPS)


def test_raw_weights_give_another_film_of_the_run(plain: Path) -> None:
    options = {"source": "checkpoints", "seconds": 1 / FPS}
    ema, raw = (sheets(plain, "training", options, n=2, weights=weights) for weights in ("ema", "raw"))
    assert not same(ema[0].images, raw[0].images)


def test_several_seeds_are_rows_and_one_each_is_named_below(plain: Path) -> None:
    options = {"source": "checkpoints", "seconds": 1 / FPS}
    rows, singles = (sheets(plain, "training", options, seeds=(4, 8), n=n)[0] for n in (3, 1))
    assert (rows.columns, list(rows.sides), list(rows.under)) == (3, ["seed 4", "seed 8"], [])
    assert (list(singles.sides), list(singles.under)) == ([], ["seed 4", "seed 8"])


def test_the_last_column_of_a_truncation_is_the_image_itself(plain: Path) -> None:
    (sheet,) = sheets(plain, "truncation", {"psi": [0.0, 1.0, None], "seconds": None}, n=4, out=Path("sheet.png"))
    assert list(sheet.heads) == ["0", "1", "none"]
    columns = sheet.images.unflatten(0, (4, 3))
    assert same(columns[:, 2], images(asked(plain, IMAGES, n=4)))
    assert same(columns[:, 0], columns[:1, 0].expand(4, -1, -1, -1))
    assert not same(columns[:, 1], columns[:, 2])


@pytest.mark.parametrize(("name", "options"), [("truncation", {"psi": [1.0, None], "seconds": 2 / FPS}), ("classes", LEG)])
def test_a_table_moves_from_the_picture_on_to_the_next_latents(name: str, options: dict[str, Any], conditional: Path) -> None:
    keys: dict[str, Any] = {"n": 3, "labels": (0,)}
    (still,) = sheets(conditional, name, {**options, "seconds": None}, **keys, out=Path("sheet.png"))
    film = sheets(conditional, name, options, **keys)
    assert len(film) == 6
    assert same(film[0].images, still.images)
    columns = 2 if name == "truncation" else 1  # of one latent
    assert same(film[2].images, still.images.roll(-columns, dims=0))


def test_each_row_of_the_classes_is_of_its_class(conditional: Path) -> None:
    (sheet,) = sheets(conditional, "classes", {"seconds": None}, n=3, labels=(2, 9), out=Path("sheet.png"))
    assert (sheet.columns, list(sheet.sides)) == (3, ["class 2", "class 9"])
    ask = asked(conditional, IMAGES, n=3)
    for row, label in zip(sheet.images.unflatten(0, (2, 3)), (2, 9), strict=True):
        assert same(row, images(ask, torch.full((3,), label)))
    assert not same(*sheet.images.unflatten(0, (2, 3)))
