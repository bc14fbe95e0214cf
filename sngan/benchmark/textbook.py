"""The training loop as most codes write it, against which every technique of this project is measured."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, Dataset

from sngan.config import Config
from sngan.data.images import Images
from sngan.generators.generator import Generator
from sngan.layers.weights import LAYERS
from sngan.losses.loss import Loss
from sngan.regularizers.regularizer import Batch
from sngan.state import TrainState
from sngan.training.engine import Stats
from sngan.training.fakes import fakes
from sngan.training.step import Game, Inputs, judge, shared_weights, update_average, update_generator


def with_torch_spectral_norm(D: nn.Module) -> nn.Module:
    """D with torch's spectral norm on every layer: a power iteration in each forward, layer by layer."""
    for layer in [module for module in D.modules() if isinstance(module, LAYERS)]:
        spectral_norm(layer)
    return D


class TextbookStep:
    """d_steps discriminator updates and one generator update, by `backward` and `step`.

    With `one_forward` real and generated images go through D together, with `frozen` D gets no gradient in the generator
    update, and with `grouped` the fakes of all updates come from one forward. Without these options it is a textbook's step.
    """

    def __init__(self, state: TrainState, game: Game, *, one_forward: bool, frozen: bool, grouped: bool):
        self.state, self.game = state, game
        self.one_forward, self.frozen, self.grouped = one_forward, frozen, grouped

    def __call__(self, inputs: Inputs) -> Stats:
        state, stats = self.state, {}
        G_weights = shared_weights(state.G, update=True)
        together = fakes(state.G, G_weights, inputs.z_D, inputs.y_D) if self.grouped else None
        for i in range(len(inputs.x_real)):
            y_fake = _at(inputs.y_D, i)
            if together is None:
                with torch.no_grad():
                    x_fake = state.G(inputs.z_D[i], y_fake, weights=G_weights)
            else:
                x_fake = together[i]
            batch = Batch(inputs.x_real[i], _at(inputs.y_real, i), x_fake, y_fake, inputs.epsilon[i])
            stats["D_loss"] = self._update_discriminator(batch)
        if self.frozen:
            stats["G_loss"] = update_generator(state, self.game, G_weights, inputs.z_G, inputs.y_G)
        else:
            stats["G_loss"] = self._update_generator(G_weights, inputs.z_G, inputs.y_G)
        update_average(state, self.game.ema_decay)
        return stats

    def _update_discriminator(self, batch: Batch) -> Tensor:
        D, optimizer = self.state.D, self.state.D_optimizer
        weights = shared_weights(D, update=True)
        if self.one_forward:
            real_logits, fake_logits, _ = judge(D, weights, batch)
        else:
            real_logits = D(batch.x_real, batch.y_real, weights=weights)
            fake_logits = D(batch.x_fake, batch.y_fake, weights=weights)
        D_loss = self.game.loss.discriminator(real_logits, fake_logits)
        optimizer.zero_grad()
        D_loss.backward()
        optimizer.step()
        return D_loss.detach()

    def _update_generator(self, G_weights: dict[str, Tensor] | None, z: Tensor, y: Tensor | None) -> Tensor:
        state, optimizer = self.state, self.state.G_optimizer
        assert isinstance(self.game.loss, Loss), "refused before"
        D_weights = shared_weights(state.D, update=False)
        G_loss = self.game.loss.generator(state.D(state.G(z, y, weights=G_weights), y, weights=D_weights))
        optimizer.zero_grad()
        G_loss.backward()
        optimizer.step()
        return G_loss.detach()


class LoaderInputs:
    """The inputs of a step, with real images from a `DataLoader` that converts them to float one at a time."""

    def __init__(self, config: Config, images: Images, G: Generator, device: torch.device):
        self.config, self.device = config, device
        self.z_dim, self.n_classes = G.z_dim, G.n_classes
        self._loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            Pictures(images),
            batch_size=config.batch,
            shuffle=True,
            drop_last=True,
            num_workers=config.data.workers,
            persistent_workers=config.data.workers > 0,
            pin_memory=device.type == "cuda",
        )
        self._batches = self._forever()

    def __call__(self) -> Inputs:
        d, n, m, device = self.config.d_steps, self.config.batch, self.config.g_batch, self.device
        x_real, y_real = zip(*(next(self._batches) for _ in range(d)), strict=True)
        x = torch.stack([x.to(device, non_blocking=True) for x in x_real])
        z_D, z_G = torch.randn(d, n, self.z_dim, device=device), torch.randn(m, self.z_dim, device=device)
        epsilon = torch.rand(d, n, device=device)
        if not self.n_classes:
            return Inputs(x, None, z_D, None, epsilon, z_G, None)
        y_D, y_G = torch.randint(self.n_classes, (d, n), device=device), torch.randint(self.n_classes, (m,), device=device)
        return Inputs(x, torch.stack([y.to(device) for y in y_real]), z_D, y_D, epsilon, z_G, y_G)

    def _forever(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self._loader


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images one at a time, as torchvision's data sets with ToTensor and Normalize give them: float [C, H, W] in [-1, 1]."""

    def __init__(self, images: Images):
        from torchvision.transforms import v2

        self.images = images
        self.transform = v2.Compose(
            [v2.ToPILImage(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self.images[index]
        return self.transform(pixels), label


def _at(labels: Tensor | None, i: int) -> Tensor | None:
    return None if labels is None else labels[i]
