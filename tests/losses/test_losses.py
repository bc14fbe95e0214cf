"""Each loss against its formula, and the signs that make the game a game."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sngan.config import Component
from sngan.losses.loss import Loss, RelativisticLoss
from sngan.registry import build

LOSSES = {
    "hinge": {},
    "bce": {"saturating": False},
    "wasserstein": {},
    "least_squares": {"real": 9.0, "fake": -9.0, "generated": 9.0},  # targets beyond the logits here
    "relativistic_pair": {},
    "relativistic_average": {},
}


def make(name: str, **options: object) -> Loss | RelativisticLoss:
    return build("loss", Component(name=name, **options))


def of_G(loss: Loss | RelativisticLoss, real: Tensor, fake: Tensor) -> Tensor:
    """The loss of G, which sees the real logits if it is relativistic."""
    return loss.generator(real, fake) if isinstance(loss, RelativisticLoss) else loss.generator(fake)


@pytest.fixture
def real() -> Tensor:
    return torch.randn(16, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def fake() -> Tensor:
    return torch.randn(16, dtype=torch.float64, requires_grad=True)


def test_hinge_is_paper_equations_16_and_17(real: Tensor, fake: Tensor) -> None:
    loss = make("hinge")
    expected = -torch.minimum(torch.zeros_like(real), real - 1).mean() - torch.minimum(torch.zeros_like(fake), -fake - 1).mean()
    torch.testing.assert_close(loss.discriminator(real, fake), expected)
    torch.testing.assert_close(loss.generator(fake), -fake.mean())


def test_bce_is_the_cross_entropy_of_the_sigmoid(real: Tensor, fake: Tensor) -> None:
    loss = make("bce", saturating=False)
    expected = -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean())
    torch.testing.assert_close(loss.discriminator(real, fake), expected)
    torch.testing.assert_close(loss.generator(fake), -fake.sigmoid().log().mean())


def test_saturating_bce_is_the_minimax_game(real: Tensor, fake: Tensor) -> None:
    torch.testing.assert_close(make("bce", saturating=True).generator(fake), (1 - fake.sigmoid()).log().mean())


def test_wasserstein_is_a_difference_of_means(real: Tensor, fake: Tensor) -> None:
    loss = make("wasserstein")
    torch.testing.assert_close(loss.discriminator(real, fake), fake.mean() - real.mean())
    torch.testing.assert_close(loss.generator(fake), -fake.mean())


def test_least_squares_is_equation_2_of_mao_et_al(real: Tensor, fake: Tensor) -> None:
    loss = make("least_squares", real=1.0, fake=-1.0, generated=0.0)
    expected = 0.5 * ((real - 1) ** 2).mean() + 0.5 * ((fake + 1) ** 2).mean()
    torch.testing.assert_close(loss.discriminator(real, fake), expected)
    torch.testing.assert_close(loss.generator(fake), 0.5 * (fake**2).mean())


def test_the_relativistic_loss_of_pairs_is_the_cross_entropy_of_their_differences(real: Tensor, fake: Tensor) -> None:
    loss = make("relativistic_pair")
    torch.testing.assert_close(loss.discriminator(real, fake), -(real - fake).sigmoid().log().mean())
    torch.testing.assert_close(loss.generator(real, fake), -(fake - real).sigmoid().log().mean())


def test_the_relativistic_average_loss_compares_with_the_mean_of_the_other_kind(real: Tensor, fake: Tensor) -> None:
    loss = make("relativistic_average")
    for value, one, other in ((loss.discriminator(real, fake), real, fake), (loss.generator(real, fake), fake, real)):
        expected = -(one - other.mean()).sigmoid().log().mean() - (1 - (other - one.mean()).sigmoid()).log().mean()
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(torch.autograd.grad(value, fake), torch.autograd.grad(expected, fake))


@pytest.mark.parametrize("name", LOSSES)
def test_discriminator_wants_real_up_and_fake_down(name: str, real: Tensor, fake: Tensor) -> None:
    value = make(name, **LOSSES[name]).discriminator(real, fake)
    real_gradient, fake_gradient = torch.autograd.grad(value, (real, fake))
    assert (real_gradient <= 0).all()
    assert real_gradient.any()
    assert (fake_gradient >= 0).all()
    assert fake_gradient.any()


@pytest.mark.parametrize(("name", "options"), [*LOSSES.items(), ("bce", {"saturating": True})])
def test_generator_wants_fake_up(name: str, options: dict[str, object], real: Tensor, fake: Tensor) -> None:
    (gradient,) = torch.autograd.grad(of_G(make(name, **options), real, fake), fake)
    assert (gradient < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_give_finite_losses(name: str) -> None:
    loss = make(name, **LOSSES[name])
    extreme = torch.tensor([1e4, -1e4])
    assert loss.discriminator(extreme, extreme).isfinite()
    assert of_G(loss, extreme, extreme.flip(0)).isfinite()
