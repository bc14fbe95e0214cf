"""pytorch-gan-collections (w86763777): names and layouts of source/models/sngan.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sngan.errors import UserError
from sngan.imports.rivals.rival import Rival, state_of
from sngan.imports.translation import (
    Translated,
    cnn_discriminator,
    cnn_generator,
    cnn_place,
    plain,
    renamed,
    resnet_discriminator,
    resnet_generator,
)

BN_EPS = 1e-5

RESNET_G = [
    (r"blocks\.(\d+)\.residual\.0", r"blocks.\1.norm1"),
    (r"blocks\.(\d+)\.residual\.3", r"blocks.\1.conv1"),
    (r"blocks\.(\d+)\.residual\.4", r"blocks.\1.norm2"),
    (r"blocks\.(\d+)\.residual\.6", r"blocks.\1.conv2"),
    (r"blocks\.(\d+)\.shortcut\.1", r"blocks.\1.shortcut"),
    (r"linear", "linear"),
    (r"output\.0", "norm"),
    (r"output\.2", "conv"),
]
RESNET_D = [
    (r"model\.0\.residual\.0", "blocks.0.conv1"),
    (r"model\.0\.residual\.2", "blocks.0.conv2"),
    (r"model\.0\.shortcut\.1", "blocks.0.shortcut"),
    (r"model\.(\d+)\.residual\.1", r"blocks.\1.conv1"),
    (r"model\.(\d+)\.residual\.3", r"blocks.\1.conv2"),
    (r"model\.(\d+)\.shortcut\.0", r"blocks.\1.shortcut"),
    (r"linear", "linear"),
]
CNN_G = [
    (r"linear", "linear"),
    (r"main\.0", "first.0"),
    *((rf"main\.{3 * i + 2}", f"deconvs.{3 * i}") for i in range(3)),
    *((rf"main\.{3 * i + 3}", f"deconvs.{3 * i + 1}") for i in range(3)),
    (r"main\.11", "conv"),
]
CNN_D = [(r"linear", "linear"), *((rf"main\.{2 * i}", cnn_place(i)) for i in range(7))]


class GANCollections(Rival):
    """Both networks of its SNGAN, as CNN and as ResNet, from `model.pt`."""

    url = "https://github.com/w86763777/pytorch-gan-collections"
    experiment = "cifar10_resnet"

    def networks(self, content: Mapping[str, Any], resolution: int | None) -> list[Translated]:
        if not {"net_G", "net_D"} <= content.keys():
            raise UserError("it has no net_G and net_D, which its training writes to model.pt")
        G, D = state_of(content, "net_G"), state_of(content, "net_D")
        if any(name.startswith("blocks.") for name in G):
            g = resnet_generator(*plain(G, renamed(G, RESNET_G, rival="these"), bn_eps=BN_EPS), name="resnet")
            d = plain(D, renamed(D, RESNET_D, rival="these"), bn_eps=BN_EPS)
            return [g, resnet_discriminator(*d, (True, True, False, False), 32, hidden="output")]
        return [
            cnn_generator(*plain(G, renamed(G, CNN_G, rival="these"), bn_eps=BN_EPS)),
            cnn_discriminator(*plain(D, renamed(D, CNN_D, rival="these"), bn_eps=BN_EPS), slope=0.1),
        ]
