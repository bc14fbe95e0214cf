"""The networks of other projects as plain functions, from their tables: each fills a state dict with the names and shapes of its project."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

N, K = 4, 3
"""Images and classes."""


class State:
    """A state dict that a forward pass fills: a tensor is made where it is first used. `bn_eps` is the project's."""

    def __init__(self, bn_eps: float = 1e-5) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(0)
        self.bn_eps = bn_eps

    def __call__(self, name: str, *shape: int, scale: float = 0.3) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = scale * torch.randn(shape, generator=self.generator)
        return self.tensors[name]

    def weight(self, name: str, *shape: int, sn: str | None) -> Tensor:
        """The weight as it is used; `sn` torch: with u and v as they are kept; own: after one more iteration from a u [1, out]."""
        if sn is None:
            return self(f"{name}.weight", *shape, scale=math.prod(shape[1:]) ** -0.5)
        W = self(f"{name}.weight_orig" if sn == "torch" else f"{name}.weight", *shape)
        M = W.flatten(1)
        if sn == "torch":
            U, _, Vh = torch.linalg.svd(M, full_matrices=False)
            u = F.normalize(self(f"{name}.weight_u", shape[0], scale=0.05) + U[:, 0], dim=0)
            v = F.normalize(self(f"{name}.weight_v", M.shape[1], scale=0.05) + Vh[0], dim=0)
            self.tensors |= {f"{name}.weight_u": u, f"{name}.weight_v": v}
        else:
            v = F.normalize(M.T @ self(f"{name}.sn_u", 1, shape[0])[0], dim=0)
            u = F.normalize(M @ v, dim=0)
            self(f"{name}.sn_sigma", 1)
        return W / (u @ M @ v)

    def conv(self, name: str, h: Tensor, c_out: int, size: int, *, sn: str | None = None, bias: bool = True) -> Tensor:
        weight = self.weight(name, c_out, h.shape[1], size, size, sn=sn)
        return F.conv2d(h, weight, self(f"{name}.bias", c_out) if bias else None, padding=size // 2)

    def linear(self, name: str, h: Tensor, out: int, *, sn: str | None = None, bias: bool = True) -> Tensor:
        return F.linear(h, self.weight(name, out, h.shape[1], sn=sn), self(f"{name}.bias", out) if bias else None)

    def norm(self, name: str, h: Tensor, *, affine: bool = True) -> Tensor:
        C = h.shape[1]
        variance = self(f"{name}.running_var", C).abs() + 0.1
        self.tensors |= {f"{name}.running_var": variance, f"{name}.num_batches_tracked": torch.tensor(3)}
        mean = self(f"{name}.running_mean", C)
        h = (h - mean[:, None, None]) / (variance + self.bn_eps).sqrt()[:, None, None]
        return h * self(f"{name}.weight", C)[:, None, None] + self(f"{name}.bias", C)[:, None, None] if affine else h


def mimicry_generator(s: State, z: Tensor, y: Tensor | None, *, side: int, widths: Sequence[int]) -> Tensor:
    def norm(name: str, h: Tensor) -> Tensor:
        if y is None:
            return s.norm(name, h)
        gamma, beta = s(f"{name}.embed.weight", K, 2 * h.shape[1])[y].split(h.shape[1], dim=1)
        return gamma[:, :, None, None] * s.norm(f"{name}.bn", h, affine=False) + beta[:, :, None, None]

    def double(h: Tensor) -> Tensor:
        return F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)

    h = s.linear("l1", z, widths[0] * side * side).view(N, widths[0], side, side)
    for i, c in enumerate(widths[1:], start=2):
        r = s.conv(f"block{i}.c1", double(F.relu(norm(f"block{i}.b1", h))), c, 3)
        r = s.conv(f"block{i}.c2", F.relu(norm(f"block{i}.b2", r)), c, 3)
        h = r + s.conv(f"block{i}.c_sc", double(h), c, 1)
    last = len(widths) + 1
    return torch.tanh(s.conv(f"c{last}", F.relu(s.norm(f"b{last}", h)), 3, 3))


def mimicry_discriminator(
    s: State, x: Tensor, y: Tensor | None, *, widths: Sequence[int], halve: Sequence[bool], sn: str = "torch"
) -> Tensor:
    h = s.conv("block1.c2", F.relu(s.conv("block1.c1", x, widths[0], 3, sn=sn)), widths[0], 3, sn=sn)
    h = F.avg_pool2d(h, 2) + s.conv("block1.c_sc", F.avg_pool2d(x, 2), widths[0], 1, sn=sn)
    for i, (c, half) in enumerate(zip(widths[1:], halve[1:], strict=True), start=2):
        shown = F.relu(h)  # in place: the shortcut sees it as well
        r = s.conv(f"block{i}.c2", F.relu(s.conv(f"block{i}.c1", shown, h.shape[1], 3, sn=sn)), c, 3, sn=sn)
        short = s.conv(f"block{i}.c_sc", shown, c, 1, sn=sn) if half or c != h.shape[1] else shown
        h = F.avg_pool2d(r, 2) + F.avg_pool2d(short, 2) if half else r + short
    h = F.relu(h).sum((2, 3))
    logits = s.linear(f"l{len(widths) + 1}", h, 1, sn=sn)[:, 0]
    return logits if y is None else logits + (s.weight("l_y", K, h.shape[1], sn=sn)[y] * h).sum(1)


def attended(s: State, name: str, h: Tensor, *, sn: str | None) -> Tensor:
    C, pixels = h.shape[1], h.shape[2] * h.shape[3]
    query = s.conv(f"{name}.conv1x1_theta", h, C // 8, 1, sn=sn, bias=False).flatten(2)
    key = F.max_pool2d(s.conv(f"{name}.conv1x1_phi", h, C // 8, 1, sn=sn, bias=False), 2).flatten(2)
    value = F.max_pool2d(s.conv(f"{name}.conv1x1_g", h, C // 2, 1, sn=sn, bias=False), 2).flatten(2)
    weights = torch.softmax(torch.einsum("ncp,ncq->npq", query, key), dim=2)
    mixed = torch.einsum("ncq,npq->ncp", value, weights).view(N, C // 2, *h.shape[2:])
    assert pixels == weights.shape[1]
    return h + s(f"{name}.sigma", 1, scale=1.0) * s.conv(f"{name}.conv1x1_attn", mixed, C, 1, sn=sn, bias=False)


def studiogan_generator(
    s: State, z: Tensor, y: Tensor | None, *, widths: Sequence[int], big: bool = False, attention: int = -1, sn: str | None = None
) -> Tensor:
    if big:
        z, *parts = z.chunk(len(widths), dim=1)
        shared = [] if y is None else [s("shared.weight", K, 5)[y]]
        conditions: list[Tensor | None] = [torch.cat([*shared, part], dim=1) for part in parts]
    else:
        conditions = [None if y is None else F.one_hot(y, K).float()] * len(widths)

    def norm(name: str, h: Tensor, c: Tensor | None) -> Tensor:
        if c is None:
            return s.norm(name, h)
        gain = 1 + s.linear(f"{name}.gain", c, h.shape[1], sn=sn, bias=False)[:, :, None, None]
        return (
            gain * s.norm(f"{name}.bn", h, affine=False)
            + s.linear(f"{name}.bias", c, h.shape[1], sn=sn, bias=False)[:, :, None, None]
        )

    h, place = s.linear("linear0", z, widths[0] * 16, sn=sn).view(N, widths[0], 4, 4), 0
    for i, c in enumerate(widths[1:]):
        name = f"blocks.{place}.0"
        r = s.conv(f"{name}.conv2d1", F.interpolate(F.relu(norm(f"{name}.bn1", h, conditions[i])), scale_factor=2), c, 3, sn=sn)
        r = s.conv(f"{name}.conv2d2", F.relu(norm(f"{name}.bn2", r, conditions[i])), c, 3, sn=sn)
        h, place = r + s.conv(f"{name}.conv2d0", F.interpolate(h, scale_factor=2), c, 1, sn=sn), place + 1
        if i == attention:
            h, place = attended(s, f"blocks.{place}.0", h, sn=sn), place + 1
    return torch.tanh(s.conv("conv2d5", F.relu(s.norm("bn4", h)), 3, 3, sn=sn))


def studiogan_discriminator(
    s: State, x: Tensor, y: Tensor | None, *, widths: Sequence[int], halve: Sequence[bool], attention: int
) -> Tensor:
    h = s.conv("blocks.0.0.conv2d2", F.relu(s.conv("blocks.0.0.conv2d1", x, widths[0], 3, sn="torch")), widths[0], 3, sn="torch")
    h, place = F.avg_pool2d(h, 2) + s.conv("blocks.0.0.conv2d0", F.avg_pool2d(x, 2), widths[0], 1, sn="torch"), 1
    for i, (c, half) in enumerate(zip(widths, halve, strict=True)):
        if i > 0:
            name, shown = f"blocks.{place}.0", F.relu(h)
            r = s.conv(f"{name}.conv2d2", F.relu(s.conv(f"{name}.conv2d1", shown, c, 3, sn="torch")), c, 3, sn="torch")
            short = s.conv(f"{name}.conv2d0", shown, c, 1, sn="torch") if half or c != h.shape[1] else shown
            h, place = (F.avg_pool2d(r + short, 2) if half else r + short), place + 1
        if i == attention:
            h, place = attended(s, f"blocks.{place}.0", h, sn="torch"), place + 1
    h = F.relu(h).sum((2, 3))
    logits = s.linear("linear1", h, 1, sn="torch")[:, 0]
    return logits if y is None else logits + (s.weight("embedding", K, h.shape[1], sn="torch")[y] * h).sum(1)


def deconv(s: State, name: str, h: Tensor, c_out: int, size: int, **how: int) -> Tensor:
    return F.conv_transpose2d(h, s(f"{name}.weight", h.shape[1], c_out, size, size, scale=0.1), s(f"{name}.bias", c_out), **how)


def collections_cnn_generator(s: State, z: Tensor, *, side: int) -> Tensor:
    h = s.linear("linear", z, 16 * side * side).view(N, 16, side, side)
    for i, c in enumerate((8, 6, 5)):
        h = deconv(s, f"main.{3 * i + 2}", F.relu(s.norm(f"main.{3 * i}", h)), c, 4, stride=2, padding=1)
    return torch.tanh(s.conv("main.11", F.relu(s.norm("main.9", h)), 3, 3))


def fidelity_generator(s: State, z: Tensor) -> Tensor:
    h = deconv(s, "model.0", z[:, :, None, None], 16, 4)
    for i, c in enumerate((8, 6, 5)):
        h = deconv(s, f"model.{3 * i + 3}", F.relu(s.norm(f"model.{3 * i + 1}", h)), c, 4, stride=2, padding=1)
    return torch.tanh(deconv(s, "model.12", F.relu(s.norm("model.10", h)), 3, 3, padding=1))


def cnn_discriminator(s: State, x: Tensor, names: Sequence[str], linear: str) -> Tensor:
    for i, name in enumerate(names):
        c, size = 4 + 2 * i, 4 if i % 2 else 3
        weight, bias = s.weight(name, c, x.shape[1], size, size, sn="torch"), s(f"{name}.bias", c)
        x = F.leaky_relu(F.conv2d(x, weight, bias, stride=2 if i % 2 else 1, padding=1), 0.1)
    return s.linear(linear, x.flatten(1), 1, sn="torch")[:, 0]


def collections_resnet_generator(s: State, z: Tensor) -> Tensor:
    h = s.linear("linear", z, 8 * 16).view(N, 8, 4, 4)
    for i in range(3):
        name = f"blocks.{i}"
        r = s.conv(f"{name}.residual.3", F.interpolate(F.relu(s.norm(f"{name}.residual.0", h)), scale_factor=2), 8, 3)
        r = s.conv(f"{name}.residual.6", F.relu(s.norm(f"{name}.residual.4", r)), 8, 3)
        h = r + s.conv(f"{name}.shortcut.1", F.interpolate(h, scale_factor=2), 8, 1)
    return torch.tanh(s.conv("output.2", F.relu(s.norm("output.0", h)), 3, 3))


def collections_resnet_discriminator(s: State, x: Tensor) -> Tensor:
    h = s.conv("model.0.residual.2", F.relu(s.conv("model.0.residual.0", x, 8, 3, sn="torch")), 8, 3, sn="torch")
    h = F.avg_pool2d(h, 2) + s.conv("model.0.shortcut.1", F.avg_pool2d(x, 2), 8, 1, sn="torch")
    for i, half in ((1, True), (2, False), (3, False)):
        r = s.conv(f"model.{i}.residual.1", F.relu(h), 8, 3, sn="torch")
        r = s.conv(f"model.{i}.residual.3", F.relu(r), 8, 3, sn="torch")
        h = F.avg_pool2d(r + s.conv(f"model.{i}.shortcut.0", h, 8, 1, sn="torch"), 2) if half else r + h
    return s.linear("linear", F.relu(h).sum((2, 3)), 1, sn="torch", bias=False)[:, 0]
