"""Spectral norm on networks that are not a GAN's discriminator of the paper: each function builds one, trains it a little and returns it.

    python scripts/spectral_norm_examples.py

Each shows what an option is for. The data are made up; what counts is what is normalised, and how.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sngan import spectral_norm

STEPS = 20


def transformer(steps: int = STEPS) -> nn.TransformerEncoder:
    """A transformer whose weights are gamma / sigma W with a learned gamma: sigma-reparametrisation (Zhai et al. 2023).

    Q, K and V are three matrices. Layer norms keep their scales, which `exclude` says, so that no warning names them.
    """
    layer = nn.TransformerEncoderLayer(d_model=16, nhead=2, dim_feedforward=32, dropout=0.0, batch_first=True)
    network = spectral_norm(nn.TransformerEncoder(layer, num_layers=2), scale="learned", exclude=["*norm*"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(steps):
        x = torch.randn(8, 6, 16)  # [N, tokens, features]
        loss = F.mse_loss(network(x), x.flip(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


class Denoiser(nn.Module):
    """A small U-Net with attention at its lowest resolution: noisy images [N, 3, H, W] and noise levels [N] to the noise."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.time = nn.Linear(1, 2 * width)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.attention = nn.MultiheadAttention(2 * width, 2, batch_first=True)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.last = nn.Conv2d(2 * width, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        fine = F.silu(self.first(x))  # [N, C, H, W]
        coarse = F.silu(self.down(fine) + self.time(t[:, None])[:, :, None, None])  # [N, 2C, H / 2, W / 2]
        tokens = coarse.flatten(2).mT
        attended = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        coarse = coarse + attended.mT.reshape(coarse.shape)
        noise: Tensor = self.last(torch.cat([fine, F.silu(self.up(coarse))], dim=1))
        return noise


def diffusion(steps: int = STEPS) -> Denoiser:
    """A diffusion model's U-Net with capped weights: those below the cap train freely, none stretches by more than 2 as a map."""
    network = spectral_norm(Denoiser(), norm="map", scale=2.0, capped=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        x, noise, t = torch.rand(8, 3, 8, 8) * 2 - 1, torch.randn(8, 3, 8, 8), torch.rand(8)
        noisy = (1 - t.view(-1, 1, 1, 1)) * x + t.view(-1, 1, 1, 1) * noise
        loss = F.mse_loss(network(noisy, t), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


class ScaledLayer(nn.Module):
    """A layer of StyleGAN's kind: the parameter is drawn from N(0, 1), and used times a constant, before which it is normalised."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.gain = (c_in * kernel * kernel) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.weight.shape[-1] // 2)


def stylegan_like_discriminator(steps: int = STEPS) -> nn.Module:
    """A discriminator of layers that no library knows, each named: their parameters count as matrices [out, in * kh * kw]."""
    network = nn.Sequential(
        ScaledLayer(3, 16),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(2),
        ScaledLayer(16, 32),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(512, 1),
    )
    for layer in network:
        if isinstance(layer, ScaledLayer | nn.Linear):
            spectral_norm(layer, "weight")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.0, 0.99))
    for _ in range(steps):
        real, fake = torch.rand(8, 3, 8, 8) * 2 - 1, torch.randn(8, 3, 8, 8)
        real.requires_grad_()
        logits = network(real)
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)  # R1: a second derivative goes through W / sigma
        loss = F.softplus(-logits).mean() + F.softplus(network(fake)).mean() + 5.0 * slope.square().sum((1, 2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


class ActorCritic(nn.Module):
    """A body that is shared, a policy and a value."""

    def __init__(self, observations: int = 4, actions: int = 2):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(observations, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy = nn.Linear(64, actions)
        self.value = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.policy(h), self.value(h).squeeze(1)


def actor_critic(steps: int = STEPS) -> ActorCritic:
    """Only the layer before the heads is normalised, as in deep reinforcement learning (Gogianu et al. 2021); the rest is free."""
    network = ActorCritic()
    spectral_norm(network.body[2], tolerance=1e-3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        x, action, reward = torch.randn(32, 4), torch.randint(2, (32,)), torch.randn(32)
        logits, value = network(x)
        chosen = logits.log_softmax(1).gather(1, action[:, None]).squeeze(1)
        loss = -(chosen * (reward - value.detach())).mean() + F.mse_loss(value, reward)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


if __name__ == "__main__":
    for example in (transformer, diffusion, stylegan_like_discriminator, actor_critic):
        print(example(), end="\n\n")
