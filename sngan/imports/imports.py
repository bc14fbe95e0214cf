"""`sngan import`: a checkpoint of another project as one of ours, with a card that says where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sngan.config import MOST_SIDE, Config
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.files import remove, replace, write_json
from sngan.imports.files import read
from sngan.imports.request import Import
from sngan.imports.rivals.gan_collections import GANCollections
from sngan.imports.rivals.mimicry import Mimicry
from sngan.imports.rivals.rival import Rival
from sngan.imports.rivals.studiogan import StudioGAN
from sngan.imports.rivals.torch_fidelity import TorchFidelity
from sngan.imports.translation import Translated
from sngan.networks import build_discriminator, build_generator
from sngan.provenance import sha256_of, versions
from sngan.runs.checkpoint import FORMAT, MANIFEST, save_tensors

RIVALS: dict[str, Rival] = {
    "mimicry": Mimicry(),
    "studiogan": StudioGAN(),
    "gan_collections": GANCollections(),
    "torch_fidelity": TorchFidelity(),
}

DATA: dict[tuple[Any, int], str] = {
    (32, 0): "cifar10",
    (32, 10): "cifar10",
    (32, 100): "cifar100",
    (48, 0): "stl10",
    (64, 0): "celeba",
    (64, 200): "tiny_imagenet",
}
"""What the networks for this side and this number of classes are published for; others are for ImageNet."""

CARD = """\
---
license: {license}
library_name: sngan
tags:
- gan
- spectral-normalization
---

# {title}

Networks of {rival} ({url}), read by sngan {sngan}. {licence_said}

| | |
|---|---|
{facts}

The networks are those of the files. The rest of config.json is that of `experiment={experiment}`, and nothing of it comes from the files.
Batch-norm variances take up the difference of epsilons, so that images and logits are those of {rival} in evaluation mode.

```python
import sngan

G = sngan.load_generator(".")  # this folder, if it holds a generator
```
"""


@dataclass(frozen=True)
class Found:
    """What the files hold."""

    request: Import
    rival: Rival
    networks: dict[str, Translated]
    """By role."""
    sources: dict[str, Path]
    spec: ImageSpec
    step: int

    def overrides(self) -> list[str]:
        """The words of `sngan train` that build these networks."""
        data = self.request.data or DATA.get((self.spec.resolution, self.spec.n_classes), "imagenet_folder")
        words = [
            f"experiment={self.rival.experiment}",
            f"data={data}",
            "data.dequantize=false",
            "ema.recalibrate=0",
            "name=imported",
        ]
        words += ["run_dir=imported"] + ["conditional=true"] * bool(self.spec.n_classes)
        for role, network in self.networks.items():
            options = dict(network.options)
            words.append(f"{role}={options.pop('name')}")
            words += [f"{role}.{key}={_word(value)}" for key, value in options.items()]
        return words


def _word(value: Any) -> str:
    return str(value).replace(" ", "").replace("None", "null").replace("True", "true").replace("False", "false")


def find(request: Import) -> Found:
    """Reads the files and translates their networks. Raises `UserError` that names the file and the first tensor at fault."""
    if request.rival is None or not request.files:
        raise UserError(f"give a project ({', '.join(RIVALS)}) and its files: sngan import mimicry netG.pth netD.pth out=DIR")
    if request.out is None:
        raise UserError("out is needed; give out=DIR, the folder of the checkpoint")
    if request.out.exists():
        raise UserError(f"out={request.out} is there already; remove it, or give another out=DIR")
    rival = RIVALS[request.rival]
    contents = {path: read(path) for path in request.files}
    networks: dict[str, Translated] = {}
    sources: dict[str, Path] = {}
    resolution = _side(request)
    # a discriminator may leave the resolution open, which a generator tells
    for path in sorted(contents, key=lambda path: not _has_generator(rival, contents[path])):
        found = _networks(rival, contents[path], path, resolution)
        for network in found:
            if network.role in networks:
                raise UserError(f"{path} holds a {network.role}, and so does {sources[network.role]}; give one of each")
            networks[network.role], sources[network.role] = network, path
            resolution = resolution or network.resolution
    step = max((rival.step(content) or 0 for content in contents.values()), default=0)
    return Found(request, rival, networks, sources, _spec(networks, sources, resolution), step)


def _networks(rival: Rival, content: Any, path: Path, resolution: int | None) -> list[Translated]:
    try:
        return rival.networks(content, resolution)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (RuntimeError, IndexError, ValueError) as error:  # of operations on tensors of shapes that no network of theirs has
        raise UserError(
            f"{path}: a tensor has a shape that no network of this project gives it ({str(error).splitlines()[0][:150]})"
        ) from None


def _side(request: Import) -> int | None:
    if isinstance(request.resolution, tuple):
        raise UserError(f"resolution={list(request.resolution)}: networks of other projects are for square images; give one side")
    return request.resolution


def _has_generator(rival: Rival, content: Any) -> bool:
    try:
        return any(network.role == "generator" for network in rival.networks(content, None))
    except (UserError, RuntimeError, IndexError, ValueError):
        return False  # told when its turn comes


def _spec(networks: dict[str, Translated], sources: dict[str, Path], resolution: int | None) -> ImageSpec:
    """The images of the networks, which must agree."""
    specs = {(network.resolution, network.channels, network.n_classes) for network in networks.values()}
    if len(specs) > 1:
        said = [f"{sources[role]}: {_images(network)}" for role, network in networks.items()]
        raise UserError(f"the two networks are for different images: {'; '.join(said)}; give a pair")
    side, channels, n_classes = specs.pop()
    if resolution is not None and side != resolution:
        raise UserError(f"resolution={resolution}: the network is for {side} px; leave resolution out")
    if side is None or not 0 < side <= MOST_SIDE:
        raise UserError(f"the networks are for {side} px, and sngan's for at most {MOST_SIDE}")
    return ImageSpec(side, channels, n_classes)


def _images(network: Translated) -> str:
    return f"{network.channels} x {network.resolution} px, {network.n_classes or 'no'} classes"


def write(found: Found, config: Config) -> Path:
    """Writes the checkpoint of the networks that the config builds, and its card; `UserError`, and nothing, where they do not fit."""
    out, files = found.request.out, {"generator": "generator.safetensors", "discriminator": "discriminator.safetensors"}
    assert out is not None
    build: dict[str, Callable[[Config, ImageSpec], Any]] = {"generator": build_generator, "discriminator": build_discriminator}
    filled = {}
    for role, network in found.networks.items():
        with torch.random.fork_rng(devices=[]):
            empty = build[role](config, found.spec).network
        filled[role] = _filled(empty, network, found.sources[role])
    partial = out.with_name(f".partial-{out.name}")
    try:
        remove(partial)
        partial.mkdir(parents=True)
        try:
            for role, full in filled.items():
                save_tensors(full, partial / files[role])
            (partial / "config.json").write_text(config.model_dump_json(indent=2))
            hashes = {path.name: sha256_of(path) for path in sorted(partial.iterdir())}
            manifest = {"format": FORMAT, "step": found.step, "image": asdict(found.spec), "versions": versions(), "sha256": hashes}
            write_json(partial / MANIFEST, manifest, sealed=True)
            replace(partial / "README.md", _card(found, hashes))
            partial.rename(out)
        finally:
            remove(partial)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); give another out=DIR") from None
    return out


def _filled(network: nn.Module, translated: Translated, path: Path) -> nn.Module:
    """The network with the translated tensors; `UserError` names the first that is missing, too many, of another shape or not finite."""
    own = network.state_dict()
    for name in [*own, *translated.tensors]:
        if name not in translated.tensors:
            raise UserError(f"{path}: nothing in it is {name} of sngan's {translated.role}={translated.options['name']}")
        theirs = translated.theirs[name]
        if name not in own:
            raise UserError(f"{path}: {theirs} has no place in sngan's {translated.role}={translated.options['name']}")
        tensor = translated.tensors[name]
        if tensor.shape != own[name].shape:
            raise UserError(f"{path}: {theirs} has shape {list(tensor.shape)} as {name}, where {list(own[name].shape)} is expected")
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {theirs} holds NaN or infinity; take another checkpoint")
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in translated.tensors.items()})
    return network


def _card(found: Found, hashes: dict[str, str]) -> str:
    request, rival = found.request, found.rival
    facts: dict[str, Any] = {f"{role} from": f"{path.name}, sha256 `{sha256_of(path)}`" for role, path in found.sources.items()}
    facts |= {
        role: f"`{' '.join(f'{k}={_word(v)}' for k, v in network.options.items())}`" for role, network in found.networks.items()
    }
    facts |= {f"sha256 of {name}": f"`{value}`" for name, value in hashes.items()}
    facts |= {"images": _images(next(iter(found.networks.values()))), "step": found.step or "not in the files"}
    return CARD.format(
        license=request.license or "unknown",
        title=f"{request.rival}, {' and '.join(found.networks)}",
        rival=request.rival,
        url=rival.url,
        sngan=versions()["sngan"],
        licence_said=f"Licence of the weights: {request.license}." if request.license else "No licence was stated.",
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        experiment=rival.experiment,
    )
