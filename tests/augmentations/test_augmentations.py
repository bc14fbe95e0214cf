"""The formulas, an image at a time, and what all augmentations have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reference_augment
import torch
from safetensors.torch import load_file
from torch import nn

from sngan import Config, UserError, train
from sngan.augmentations.augmentation import Augmentation, gathered, indexed
from sngan.config import Component
from sngan.data.images import ImageSpec
from sngan.layers.normalized import Normalized
from sngan.registry import build
from sngan.runs.checkpoint import open_checkpoint
from sngan.training.combinations import check_combination

Tiny = Callable[..., Config]
ADA = {"p": 0.7, "target": 0.6, "images": 500_000, "blit": True, "geometric": True, "color": True}
DIFFAUGMENT = {"color": True, "translation": 0.125, "cutout": 0.5}
OPTIONS: dict[str, dict[str, Any]] = {"ada": ADA, "diffaugment": DIFFAUGMENT}
FORMS = {"colour": (3, 16, 16), "grey and oblong": (1, 12, 20), "odd": (3, 15, 9)}
"""Channels, height, width."""
WITHOUT_SCORES = ["protocol=none", "sample_every=0", "log_every=0"]


def made(
    name: str, channels: int = 3, resolution: tuple[int, int] = (16, 16), **options: object
) -> tuple[Augmentation, Normalized[nn.Module]]:
    component = Component(name=name, **{**OPTIONS[name], **options})
    augment = build("augment", component, ImageSpec(resolution, channels, 0), 32)
    D = Normalized(nn.Linear(1, 1, dtype=torch.float64))
    augment.prepare(D)
    return augment, D.double()


def images_and_numbers(augment: Augmentation, *shape: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, *shape, dtype=torch.float64), torch.rand(n, augment.numbers, dtype=torch.float64)


@pytest.mark.parametrize("shape", FORMS.values(), ids=FORMS)
def test_diffaugment_goes_by_its_formulas(shape: tuple[int, int, int]) -> None:
    augment, D = made("diffaugment", shape[0], shape[1:])
    x, u = images_and_numbers(augment, *shape)
    expected = torch.stack([reference_augment.diffaugment(image, numbers.tolist()) for image, numbers in zip(x, u, strict=True)])
    torch.testing.assert_close(augment(D, x, u), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [*FORMS.values(), (4, 10, 14)], ids=[*FORMS, "transparent"])
def test_ada_goes_by_its_formulas(shape: tuple[int, int, int]) -> None:
    augment, D = made("ada", shape[0], shape[1:])
    x, u = images_and_numbers(augment, *shape)
    expected = torch.stack([reference_augment.ada(image, numbers.tolist(), p=0.7) for image, numbers in zip(x, u, strict=True)])
    torch.testing.assert_close(augment(D, x, u), expected, rtol=1e-7, atol=1e-7)


def test_ada_of_probability_0_is_the_identity_bit_for_bit() -> None:
    augment, D = made("ada", p=0.0)
    x, u = images_and_numbers(augment, 3, 16, 16)
    assert torch.equal(augment(D, x.float(), u.float()), x.float())


def test_ada_leaves_an_image_for_which_nothing_is_chosen_and_its_neighbours_do_not_matter() -> None:
    augment, D = made("ada", p=0.05)
    x, u = images_and_numbers(augment, 3, 16, 16, n=100)
    same = [torch.equal(a, b) for a, b in zip(augment(D, x, u), x, strict=True)]
    assert 10 < sum(same) < 90
    assert torch.equal(augment(D, x, u)[7:8], augment(D, x[7:8], u[7:8]))


def test_transparency_keeps_its_values_where_colours_change() -> None:
    for name, options in (
        ("ada", {"blit": False, "geometric": False, "p": 1.0}),
        ("diffaugment", {"translation": 0.0, "cutout": 0.0}),
    ):
        augment, D = made(name, 4, **options)
        x, u = images_and_numbers(augment, 4, 16, 16)
        seen = augment(D, x, u)
        assert torch.equal(seen[:, 3], x[:, 3])
        assert not torch.equal(seen[:, :3], x[:, :3])


@pytest.mark.parametrize("name", OPTIONS)
def test_augmentations_are_differentiable_twice(name: str) -> None:
    augment, D = made(name, 3, (4, 5), **({"p": 1.0} if name == "ada" else {}))
    x, u = images_and_numbers(augment, 3, 4, 5, n=2)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(D, x, u), x)
    assert torch.autograd.gradgradcheck(lambda x: augment(D, x, u).sin(), x)


def test_p_follows_the_mean_sign_of_four_updates() -> None:
    augment, D = made("ada", p=0.5, images=1280)  # 4 updates of 32 images: a tenth
    seen = []
    for sign in (1.0, 1.0, 1.0, 1.0, 0.9, 0.5, 0.5, 0.4):  # means of 1.0 and 0.575
        augment.updated(D, {"real_signs": torch.tensor(sign, dtype=torch.float64)})
        seen.append(round(D.network.get_buffer("augment_p").item(), 6))
    assert seen == [0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.5]
    for _ in range(40):
        augment.updated(D, {"real_signs": torch.tensor(-1.0, dtype=torch.float64)})
    assert D.network.get_buffer("augment_p") == 0


def test_p_stays_without_a_target() -> None:
    augment, D = made("ada", p=0.5, target=None, images=1280)
    for _ in range(8):
        augment.updated(D, {"real_signs": torch.tensor(1.0)})
    assert D.network.get_buffer("augment_p") == 0.5


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("diffaugment", {"color": False, "translation": 0.0, "cutout": 0.0}, "changes no image; use augment=none"),
        ("ada", {"blit": False, "geometric": False, "color": False}, "changes no image; use augment=none"),
        ("ada", {"p": 0.0, "target": None}, "give augment.p=0.2"),
        ("ada", {"channels": 2}, "images of 1, 3 or 4 channels, and these have 2"),
    ],
)
def test_what_would_do_nothing_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        made(name, **options)


def test_ada_is_refused_where_signs_mean_nothing(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"loss=wasserstein: p follows the signs .* augment=diffaugment"):
        check_combination(tiny("augment=ada", "loss=wasserstein"))
    check_combination(tiny("augment=ada", "augment.target=null", "augment.p=0.2", "loss=least_squares"))


@pytest.mark.parametrize(
    "words", [["augment=ada", "augment.p=0.5", "augment.images=320"], ["augment=diffaugment", "loss=relativistic_pair"]]
)
def test_a_resumed_run_is_the_uninterrupted_one(words: list[str], tiny: Tiny) -> None:
    train(tiny("run_dir=whole", "steps=6", *words, *WITHOUT_SCORES))
    for steps in (3, 6):
        train(tiny("run_dir=parts", f"steps={steps}", *words, *WITHOUT_SCORES))
    for name in ("generator", "generator_raw", "discriminator"):
        whole, parts = (load_file(open_checkpoint(run).path / f"{name}.safetensors") for run in ("whole", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
    if words[0] == "augment=ada":
        assert whole["augment_p"] != 0.5
        assert whole["augment_updates"] == 2
    train(tiny("run_dir=next", "init=whole", "steps=1", *words[:1], *WITHOUT_SCORES))
    assert load_file(open_checkpoint("next").path / "discriminator.safetensors").get("augment_p", 0) == 0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_the_same_gathered_and_indexed(memory_format: torch.memory_format) -> None:
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    row, column = torch.randint(5, (3, 5, 4)), torch.randint(4, (3, 5, 4))
    weights = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    assert torch.equal(indexed(x, row, column), gathered(x, row, column))
    gradients = [torch.autograd.grad((pick(x, row, column) * weights).sum(), x)[0] for pick in (indexed, gathered)]
    torch.testing.assert_close(*gradients, rtol=1e-14, atol=0)
