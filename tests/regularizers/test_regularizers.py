"""Each penalty against its formula, in float64, and its gradient against finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sngan import build
from sngan.config import Component
from sngan.layers.linear_maps import matrix
from sngan.layers.normalized import Normalized, bake
from sngan.layers.spectral_norm import SpectralNorm, follow_sigma
from sngan.regularizers.regularizer import Batch, Logits, Regularizer


class Critic(nn.Module):
    """A smooth D, so that finite differences mean something: x [N, 2, 4, 4], y [N] or None -> [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.linear = nn.Linear(48, 1)
        self.embedding = nn.Embedding(4, 48)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = torch.tanh(self.conv(x)).flatten(1)
        logits = self.linear(h).squeeze(1)
        return logits if y is None else logits + (self.embedding(y) * h).sum(1)


@pytest.fixture
def D() -> Normalized:
    return Normalized(Critic().double())


def batch(labels: bool = False) -> Batch:
    x_real, x_fake = torch.randn(5, 2, 4, 4).double(), torch.randn(5, 2, 4, 4).double()
    y = (torch.arange(5) % 4, torch.tensor([3, 3, 0, 1, 2])) if labels else (None, None)
    return Batch(x_real, y[0], x_fake, y[1], torch.rand(5).double())


UNSEEN = Logits(torch.zeros(0), torch.zeros(0))
"""For penalties that do not look at them."""


def make(name: str, **options: object) -> Regularizer:
    return build("regularizer", Component(name=name, **options))


def numeric_slopes(D: Normalized, x: Tensor, y: Tensor | None) -> Tensor:
    """The gradient of D by each number of each image, by central differences: [N, numbers]."""
    h = 1e-6
    slopes = torch.zeros_like(x).flatten(1)
    with torch.no_grad():
        for i in range(slopes.shape[1]):
            step = torch.zeros_like(slopes)
            step[:, i] = h
            step = step.view_as(x)
            slopes[:, i] = (D(x + step, y, weights={}) - D(x - step, y, weights={})) / (2 * h)
    return slopes


@pytest.mark.parametrize("labels", [False, True])
def test_gradient_penalty_is_the_squared_distance_of_the_slope_from_1(D: Normalized, labels: bool) -> None:
    seen = batch(labels)
    mixed = seen.epsilon.view(-1, 1, 1, 1) * seen.x_real + (1 - seen.epsilon.view(-1, 1, 1, 1)) * seen.x_fake
    slopes = numeric_slopes(D, mixed, seen.y_real).norm(dim=1)
    expected = 10 * ((slopes - 1) ** 2).mean()
    torch.testing.assert_close(make("gradient_penalty", weight=10.0)(D, {}, seen, UNSEEN).detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("labels", [False, True])
def test_r1_is_half_the_squared_slope_at_real_images(D: Normalized, labels: bool) -> None:
    seen = batch(labels)
    expected = 3.0 / 2 * (numeric_slopes(D, seen.x_real, seen.y_real) ** 2).sum(1).mean()
    torch.testing.assert_close(make("r1", weight=3.0)(D, {}, seen, UNSEEN).detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("labels", [False, True])
def test_r2_is_half_the_squared_slope_at_generated_images_of_their_own_labels(D: Normalized, labels: bool) -> None:
    seen = batch(labels)
    expected = 3.0 / 2 * (numeric_slopes(D, seen.x_fake, seen.y_fake) ** 2).sum(1).mean()
    r2 = make("r2", weight=3.0)(D, {}, seen, UNSEEN)
    torch.testing.assert_close(r2.detach(), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(make("r1_r2", weight=3.0)(D, {}, seen, UNSEEN), r2 + make("r1", weight=3.0)(D, {}, seen, UNSEEN))


def test_lecam_draws_logits_to_the_averages_of_the_other_kind(D: Normalized) -> None:
    lecam = make("lecam", weight=0.5, decay=0.75)
    lecam.prepare(D)
    logits = Logits(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 5.0]))
    assert lecam(D, {}, batch(), logits) == 0.5 * ((1 + 9) / 2 + (1 + 25) / 2), "averages begin at 0"
    for _ in range(2):
        lecam.updated(D, {"real_logits": torch.tensor(16.0), "fake_logits": torch.tensor(-32.0)})
    assert [D.network.get_buffer(name) for name in ("real_logits_average", "fake_logits_average")] == [7.0, -14.0]
    assert lecam(D, {}, batch(), logits) == 0.5 * ((15**2 + 17**2) / 2 + (8**2 + 2**2) / 2)
    assert "real_logits_average" not in bake(D).state_dict()


def test_orthonormal_is_the_distance_of_the_gram_matrices_from_the_identity(D: Normalized) -> None:
    expected = torch.zeros(()).double()
    for layer in D.layers().values():
        values = torch.linalg.svdvals(matrix(layer, layer.weight.detach()))
        expected += ((values**2 - 1) ** 2).sum()
    torch.testing.assert_close(make("orthonormal", weight=0.1)(D, {}, batch(), UNSEEN).detach(), 0.1 * expected)


def test_orthonormal_has_the_gradient_of_the_papers_larger_product(D: Normalized) -> None:
    """|W^T W - I|^2 and |W W^T - I|^2 differ by a constant."""
    W = D.network.conv.weight
    (ours,) = torch.autograd.grad(make("orthonormal", weight=1.0)(D, {}, batch(), UNSEEN), W)
    rows = matrix(D.network.conv, W)
    (theirs,) = torch.autograd.grad((rows.T @ rows - torch.eye(rows.shape[1])).square().sum(), W)
    torch.testing.assert_close(ours, theirs)


def test_orthonormal_takes_the_smaller_product_of_a_tall_matrix_too() -> None:
    D = Normalized(nn.Sequential(nn.Linear(2, 5).double()))
    values = torch.linalg.svdvals(D.network[0].weight.detach())
    torch.testing.assert_close(make("orthonormal", weight=1.0)(D, {}, batch(), UNSEEN).detach(), ((values**2 - 1) ** 2).sum())


@pytest.mark.parametrize("name", ["gradient_penalty", "r1", "r1_r2", "orthonormal"])
def test_a_penalty_is_of_the_weights_that_are_used_and_moves_nothing(name: str) -> None:
    D, seen = SpectralNorm(Critic().double(), scale=2.0), batch(labels=True)
    D.network.conv.u.copy_(nn.functional.normalize(torch.randn(3).double(), dim=0))  # far from where iterations end
    weights = D.normalize(update=False)
    before = copy.deepcopy(D.state_dict())
    penalty = make(name, weight=1.0)
    with torch.no_grad():
        baked = copy.deepcopy(D.network)
        for key, weight in weights.items():
            baked.get_parameter(key).copy_(weight)
    torch.testing.assert_close(penalty(D, weights, seen, UNSEEN), penalty(Normalized(baked), {}, seen, UNSEEN))
    assert all(torch.equal(value, before[key]) for key, value in D.state_dict().items())


def test_orthonormal_moves_nothing_where_each_forward_normalises_for_itself() -> None:
    D, penalty = SpectralNorm(Critic().double()), make("orthonormal", weight=1.0)
    D.network.conv.u.copy_(nn.functional.normalize(torch.randn(3).double(), dim=0))
    before = copy.deepcopy(D.state_dict())
    torch.testing.assert_close(penalty(D, None, batch(), UNSEEN), penalty(D, D.normalize(update=False), batch(), UNSEEN))
    assert all(torch.equal(value, before[key]) for key, value in D.state_dict().items())


def test_spectral_regularization_is_half_the_sum_of_squared_norms(D: Normalized) -> None:
    penalty = make("spectral_regularization", weight=0.5)
    follow_sigma(D)
    for _ in range(300):
        value = penalty(D, D.normalize(update=True), batch(), UNSEEN)
    expected = sum(torch.linalg.svdvals(matrix(m, m.weight.detach()))[0] ** 2 for m in D.layers().values())
    torch.testing.assert_close(value.detach(), 0.25 * expected, rtol=1e-8, atol=1e-10)


def test_sigma_that_is_followed_makes_one_power_iteration_at_each_update(D: Normalized) -> None:
    follow_sigma(D)
    layer = D.network.conv
    layer.u.copy_(nn.functional.normalize(torch.randn(3).double(), dim=0))
    W, u = matrix(layer, layer.weight.detach()), layer.u.clone()
    weights = D.normalize(update=True)
    make("spectral_regularization", weight=1.0)(D, weights, batch(), UNSEEN)
    v = nn.functional.normalize(W.T @ u, dim=0)
    torch.testing.assert_close(layer.v, v)
    torch.testing.assert_close(layer.u, nn.functional.normalize(W @ v, dim=0))


def test_spectral_regularization_pulls_along_the_top_singular_vectors(D: Normalized) -> None:
    """d/dW sigma^2 / 2 = sigma u v^T."""
    penalty = make("spectral_regularization", weight=1.0)
    follow_sigma(D)
    layer = D.network.conv
    (gradient,) = torch.autograd.grad(penalty(D, {}, batch(), UNSEEN), layer.weight)
    expected = D.sigmas()["conv"] * torch.outer(layer.u, layer.v)
    torch.testing.assert_close(matrix(layer, gradient), expected)


PENALTIES = {"gradient_penalty": 10.0, "r1": 10.0, "r1_r2": 10.0, "orthonormal": 0.1, "spectral_regularization": 0.1}


@pytest.mark.parametrize("norm", [Normalized, SpectralNorm])
@pytest.mark.parametrize("name", PENALTIES)
def test_the_gradient_by_the_parameters_equals_finite_differences(name: str, norm: type[Normalized]) -> None:
    """Through the gradient by the image, and through sigma; u and v are held, as they are constants to both."""
    D = norm(Critic().double())
    penalty = make(name, weight=PENALTIES[name])
    follow_sigma(D)
    D.vectors and D.vectors.advance(2000)  # where an iteration moves nothing any more
    seen = batch()

    def value() -> Tensor:
        return penalty(D, D.normalize(update=False), seen, UNSEEN)

    W = D.network.conv.weight
    (gradient,) = torch.autograd.grad(value(), W)
    h, numeric = 1e-6, torch.zeros_like(W)
    for i in range(0, W.numel(), 7):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                W.view(-1)[i] += sign * h
            values.append(value().item())
            with torch.no_grad():
                W.view(-1)[i] -= sign * h
        numeric.view(-1)[i] = (values[0] - values[1]) / (2 * h)
    checked = torch.arange(0, W.numel(), 7)
    torch.testing.assert_close(gradient.flatten()[checked], numeric.flatten()[checked], rtol=1e-4, atol=1e-5)


def test_none_is_no_function_at_all() -> None:
    assert build("regularizer", Component(name="none")) is None


def test_a_penalty_is_in_full_precision_under_autocast(D: Normalized) -> None:
    D.float()
    seen = Batch(*(t.float() if t is not None else None for t in batch()))
    for name in PENALTIES:
        penalty = make(name, weight=1.0)
        follow_sigma(D)
        if name == "spectral_regularization":
            D.vectors.advance(2000)
        plain = penalty(D, {}, seen, UNSEEN)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = penalty(D, {}, seen, UNSEEN)
        torch.testing.assert_close(plain, cast, msg=name)


def test_a_penalty_takes_generated_images_as_autocast_leaves_them(D: Normalized) -> None:
    D.float()
    seen = Batch(*(t.float() if t is not None else None for t in batch()))
    rounded = seen._replace(x_fake=seen.x_fake.bfloat16())
    same = seen._replace(x_fake=rounded.x_fake.float())
    for name in PENALTIES:
        penalty = make(name, weight=1.0)
        follow_sigma(D)
        plain = penalty(D, {}, same, UNSEEN)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = penalty(D, {}, rounded, UNSEEN)
        torch.testing.assert_close(plain, cast, msg=name)
