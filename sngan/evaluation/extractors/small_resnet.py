"""`extractor=small_resnet`: a residual classifier of small colour images; the shipped weights know `data=shapes`.

Any CIFAR ResNet (He et al. 2015, section 4.2) with parameter-free shortcuts loads as well: its tensors tell its depth and widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sngan.errors import UserError
from sngan.evaluation.extractors.extractor import Extractor, check_tensors, label_of
from sngan.processes import open_regular
from sngan.provenance import sha256_of
from sngan.registry import register

SHIPPED = Path(__file__).with_name("small_resnet.safetensors")
SHIPPED_SHA256 = "59d86b12c1491436e562d023b01a7018803d780b260b2dacb653e9fffd2ac6c9"

# of ImageNet's colours, which the public CIFAR ResNets were trained with
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@register("extractor", "small_resnet")
def small_resnet(*, weights: Path | None) -> Extractor:
    """The residual classifier in `weights` (safetensors), or the shipped one, whose hash is checked."""
    if weights is None and not (SHIPPED.is_file() and sha256_of(SHIPPED) == SHIPPED_SHA256):
        raise UserError(f"extractor=small_resnet: {SHIPPED} is missing or damaged; install sngan again")
    path = SHIPPED if weights is None else weights
    read(path)
    sha256 = sha256_of(path)
    label = "small_resnet" if weights is None else label_of(path, sha256)
    return Extractor(label=label, weights=path, sha256=sha256, distance="fd", network=_network)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters; [N, in, H, W] -> [N, out, H / stride, W / stride]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        shortcut = F.pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before))  # zero channels, half of them on each side
        return F.relu(h + shortcut)


class SmallResNet(nn.Module):
    """Stages of `blocks[i]` residual blocks with `widths[i]` channels; each stage but the first halves the map.

    uint8 [N, 3, H, W] in 0..255 -> (features [N, widths[-1]], logits [N, K]).
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], n_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = [f"layer{stage}" for stage in range(1, len(widths) + 1)]
        in_channels = widths[0]
        for stage, width, n_blocks in zip(self.stages, widths, blocks, strict=True):
            first = Block(in_channels, width, stride=1 if stage == "layer1" else 2)
            self.add_module(stage, nn.Sequential(first, *(Block(width, width, stride=1) for _ in range(n_blocks - 1))))
            in_channels = width
        self.linear = nn.Linear(in_channels, n_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert (images.dtype, images.dim(), images.size(1)) == (torch.uint8, 4, 3), (images.dtype, images.shape)
        mean, std = torch.tensor([MEAN, STD], device=images.device).view(2, 3, 1, 1)
        h = (images.float() / 255 - mean) / std
        h = F.relu(self.bn1(self.conv1(h)))
        for stage in self.stages:
            h = self.get_submodule(stage)(h)
        features = h.mean((2, 3))  # [N, F]
        return features, self.linear(features)


def read(path: Path) -> SmallResNet:
    """The classifier in a safetensors file, float32 on the CPU; raises `UserError` when the file is missing or something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        open_regular(path, follow=True).close()
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"not a whole safetensors file ({error})"
        raise UserError(f"extractor.weights={path}: {reason}; give a residual classifier's, or null for the shipped one") from None
    widths, blocks, n_classes = _architecture(tensors, path)
    with torch.device("meta"):  # no initialisation, so no random numbers: the file fills every tensor
        network = SmallResNet(widths, blocks, n_classes)
    check_tensors(tensors, network.state_dict(), path=path, what="a residual classifier")
    network.load_state_dict(tensors, assign=True)
    return network.float()


def _architecture(tensors: Mapping[str, Tensor], path: Path) -> tuple[list[int], list[int], int]:
    """Each stage's width and number of blocks, and the number of classes, as names and shapes tell them."""
    widths: list[int] = []
    blocks: list[int] = []
    while (name := f"layer{len(widths) + 1}.0.conv1.weight") in tensors and tensors[name].dim() == 4:
        widths.append(len(tensors[name]))
        blocks.append(next(i for i in count(1) if f"layer{len(widths)}.{i}.conv1.weight" not in tensors))
    if not widths or tensors.get("linear.weight", torch.tensor(0)).dim() != 2:
        raise UserError(f"extractor.weights={path} is no residual classifier: it lacks layer1.0.conv1.weight or linear.weight")
    return widths, blocks, len(tensors["linear.weight"])


def _network(path: Path) -> SmallResNet:
    return read(path).to(memory_format=torch.channels_last)  # 1.3 times as fast on a CPU
