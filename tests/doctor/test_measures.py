"""The numbers, one by one, where what they must be is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conftest import TINY
from sngan import compose
from sngan.data.images import TensorImages
from sngan.doctor.measures import judged, lead, mean_distance, of_samples, overfitting, saturation
from sngan.losses.loss import Loss
from sngan.registry import build


def logits(mean: float, n: int = 400) -> Tensor:
    """Normal numbers of this mean and variance 1."""
    x = torch.randn(n, generator=torch.Generator().manual_seed(n))
    return (x - x.mean()) / x.std() + mean


def test_overfitting_is_0_where_held_out_images_are_as_training_images_and_1_where_they_are_as_samples() -> None:
    train, fake = logits(2.0), logits(-1.0)
    assert overfitting(train, logits(2.0, 300), fake) == 0
    assert overfitting(train, logits(-1.0, 300), fake) == pytest.approx(1)
    assert overfitting(train, logits(0.5, 300), fake) == pytest.approx(0.5)


def test_a_difference_that_chance_makes_is_no_overfitting() -> None:
    assert overfitting(logits(2.0), logits(1.9, 300), logits(-1.0)) == 0
    assert overfitting(logits(0.0), logits(1.0), logits(0.01, 300)) == "D does not tell training images from samples"


def test_the_lead_counts_in_standard_deviations_of_a_logit() -> None:
    assert lead(logits(3.0), logits(1.0)) == pytest.approx(2)
    assert lead(10 * logits(3.0), 10 * logits(1.0)) == pytest.approx(2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hinge", 0.75), ("bce", 0.5), ("wasserstein", 0.0), ("relativistic_pair", 0.5)],
)
def test_saturation_is_the_share_of_images_whose_logit_has_no_slope(name: str, expected: float) -> None:
    real, fake = torch.tensor([9.0, 2.0]), torch.tensor([-9.0, 0.0])  # D is sure of the first of each, hinge of the second, too
    assert saturation(build("loss", compose([f"loss={name}"]).loss), real, fake) == expected


def test_the_gradient_for_G_is_that_of_the_loss_by_an_image() -> None:

    class Slope(nn.Module):
        """D(x) = 3 x_0 + 4 x_1: its gradient has length 5."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([3.0, 4.0]), requires_grad=False)

        def forward(self, x: Tensor, y: None = None) -> Tensor:
            return x.flatten(1)[:, :2] @ self.weight

    class Noise(nn.Module):
        z_dim, n_classes = 12, 0

        def forward(self, z: Tensor, y: None = None) -> Tensor:
            return z.view(-1, 3, 2, 2)

    loss: Loss = build("loss", compose(["loss=wasserstein"]).loss)
    images = TensorImages(torch.randint(256, (20, 3, 2, 2), dtype=torch.uint8))
    seen = judged(Slope(), Noise(), loss, compose(TINY), lambda split: images, n=300, seed=0)
    assert len(seen.train) == len(seen.fake) == 20, "as many samples as there are images"
    torch.testing.assert_close(seen.gradients, torch.full((20,), 5.0))


def test_diversity_is_1_for_real_images_and_0_for_one_image_many_times() -> None:
    real = torch.randint(256, (30, 3, 8, 8), dtype=torch.uint8)
    assert of_samples(real, TensorImages(real)) == {"pixel_diversity": 1.0}
    assert of_samples(real[:1].expand(30, -1, -1, -1), TensorImages(real)) == {"pixel_diversity": 0.0}
    assert (
        of_samples(real, TensorImages(real[:1].expand(30, -1, -1, -1)))["pixel_diversity"] == "the training images are all the same"
    )
    assert mean_distance(torch.tensor([0, 3], dtype=torch.uint8).view(2, 1, 1, 1)) == 3
