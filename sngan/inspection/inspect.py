"""The singular values of a checkpoint's weights, and bounds on the Lipschitz constant of its discriminator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sngan import devices
from sngan.config import Config
from sngan.data.images import ImageSpec, Source, check_size
from sngan.errors import UserError
from sngan.files import check_writable
from sngan.generators.generator import Generator
from sngan.inspection.lipschitz import MOST_LABELS, largest_slope, logits, norm_on_maps, upper_bound
from sngan.inspection.plot import write_spectra
from sngan.inspection.request import Inspect
from sngan.layers.linear_maps import matrix
from sngan.layers.map_sizes import Maps, map_sizes
from sngan.layers.normalized import Normalized, bake
from sngan.layers.singular_values import exact_sigma, largest_singular_value, singular_values
from sngan.provenance import versions
from sngan.registry import build
from sngan.runs.checkpoint import Checkpoint, find, load_discriminator, load_normalized_generator
from sngan.sampling.rounding import rounding_for
from sngan.sampling.sampling import balanced_labels, latents, prepared, samples


def inspect(request: Inspect) -> dict[str, Any]:
    """Inspects the checkpoint that the request names; returns plain values, and draws the singular values where the request says.

    `layers`, of D, and `generator.layers`, if G is normalised too, hold for each weight matrix W

        sigma            sigma(W) by power iteration, None if it is not tracked; sigma_exact by decomposition; ratio of the two; of the
                         matrix or of the convolution as a map, as `norm_of` says
        used             sigma_1 of the weight that the network runs with, such as W / sigma(W)
        operator_norm    of the layer with this weight as a linear map, None where it is not known (`lipschitz.norm_on_maps`)
        stable_rank      |.|_F^2 / sigma_1^2 of this weight, None where it is zero
        singular_values  of this weight, the largest first

    `lipschitz_bound` is an upper bound on |D(x) - D(x')| / |x - x'|, and `lipschitz_found` its largest value over the pairs of the first
    n training images and n samples (`pairs`). If one is None, `…_note` gives the reason. Raises `UserError` for what is missing or does
    not fit, before anything is written.
    """
    device = devices.resolve(request.device)
    checkpoint = find(request.run, request.checkpoint)
    config, spec = checkpoint.config(), checkpoint.spec
    plot = _plot_file(request, checkpoint)
    D = load_discriminator(checkpoint)
    has_pairs = request.n > 0 and not D.uses_batch_statistics
    G = (
        load_normalized_generator(checkpoint, weights=request.weights)
        if has_pairs or config.generator.normalization != "none"
        else None
    )
    x_real, source = _real_images(request, config, spec) if has_pairs else (None, None)

    zeros = torch.zeros(2, *spec.shape)
    y = torch.zeros(2, dtype=torch.int64) if spec.n_classes else None
    layers = _layers(D, map_sizes(D.network, zeros, y))
    bound, bound_note = upper_bound(D, {layer["name"]: layer["operator_norm"] for layer in layers})
    record: dict[str, Any] = {
        "checkpoint": str(checkpoint.path),
        "step": checkpoint.step,
        "discriminator": config.discriminator.name,
        "normalization": config.discriminator.normalization,
        "norm_of": config.discriminator.norm_of,
        "regularizer": config.regularizer.name,
        "layers": layers,
        "lipschitz_bound": bound,
        "lipschitz_bound_note": bound_note,
        **_found(request, config, spec, D, G, x_real, device),
        "generator": None,
        "plot": None if plot is None else str(plot),
        "versions": versions(),
    }
    if x_real is not None and source is not None:
        record["pairs"]["data"] = source.name
    if G is not None and config.generator.normalization != "none":
        record["generator"] = {
            "name": config.generator.name,
            "weights": request.weights,
            "normalization": config.generator.normalization,
            "norm_of": config.generator.norm_of,
            "layers": _layers(G, map_sizes(G.network, torch.zeros(2, G.network.z_dim), y)),
        }
    if plot is not None:
        _draw(record, plot)
    return record


def _found(
    request: Inspect,
    config: Config,
    spec: ImageSpec,
    D: Normalized[nn.Module],
    G: Normalized[Generator] | None,
    x_real: Tensor | None,
    device: torch.device,
) -> dict[str, Any]:
    """The largest slope between pairs of images and a description of the pairs, or the reason why there is none."""
    if x_real is None or G is None:
        note = "n=0: not looked for" if request.n == 0 else "with batch normalisation D is not a function of one image"
        return {"lipschitz_found": None, "lipschitz_found_note": note, "pairs": None}
    plain, batch_norm = prepared(bake(G).to(device), config, request.weights)
    z, y = latents(request.n, plain.z_dim, seed=request.seed), balanced_labels(request.n, plain.n_classes)
    x_fake = samples(plain, z, y, rounding=rounding_for(config.data))
    pixels = torch.cat([x_real, *(x.cpu() for x in x_fake)])  # [2n, C, H, W]
    found = largest_slope(logits(D.to(device), pixels, n_classes=spec.n_classes), pixels)
    pairs = {
        "n": request.n,
        "split": "train",
        "labels": min(spec.n_classes, MOST_LABELS) or None,
        "weights": request.weights,
        "batch_norm": batch_norm,
        "seed": request.seed,
        "device": str(device),
    }
    return {
        "lipschitz_found": found,
        "lipschitz_found_note": "all images are the same" if found is None else None,
        "pairs": pairs,
    }


@torch.no_grad()
def _layers(module: Normalized[Any], sizes: dict[str, Maps]) -> list[dict[str, Any]]:
    """A record for each layer that has a weight matrix, in order."""
    followed, weights = module.sigmas(), module.normalize(update=False)
    records = []
    for name, layer in tqdm(module.layers().items(), desc="singular values", unit="layer", delay=2, leave=False, disable=None):
        used = weights.get(f"{name}.weight", layer.weight)
        if not (layer.weight.isfinite().all() and used.isfinite().all()):
            raise UserError(f"{name}.weight is not finite in this checkpoint, so it has no singular values; look at an earlier one")
        tracked = module.vectors.weights[name] if name in followed and module.vectors else None
        exact = float(exact_sigma(tracked)) if tracked else largest_singular_value(matrix(layer, layer.weight))
        sigma = float(followed[name]) if name in followed else None
        values = singular_values(matrix(layer, used))
        records.append(
            {
                "name": name,
                "shape": list(layer.weight.shape),
                "sigma": sigma,
                "sigma_exact": exact,
                "ratio": sigma / exact if sigma is not None and exact else None,
                "used": float(values[0]),
                "operator_norm": norm_on_maps(layer, used, sizes.get(name)),
                "stable_rank": float(values.square().sum() / values[0] ** 2) if values[0] > 0 else None,
                "singular_values": values.tolist(),
            }
        )
    return records


def _real_images(request: Inspect, config: Config, spec: ImageSpec) -> tuple[Tensor, Source]:
    """The first n images of the training split, uint8 [n, C, H, W], and where they are from."""
    data = request.data or config.data
    try:
        source: Source = build("data", data)
        check_size(source.spec, spec, key=f"data={data.name}")
        images = source.load("train")
    except UserError as error:
        raise UserError(f"{error}; n=0 inspects the weights alone") from None
    if len(images) < request.n:
        raise UserError(f"n={request.n}: {source.name} has {len(images)} training images; use n={len(images)}, or n=0 for none")
    return torch.stack([images[i][0] for i in range(request.n)]), source


def _plot_file(request: Inspect, checkpoint: Checkpoint) -> Path | None:
    """Where the plot goes: beside the run's `checkpoints` folder, or inside a checkpoint that stands alone; `UserError` if it cannot."""
    if request.plot == "none":
        return None
    folder = checkpoint.path.parent if checkpoint.path.parent.name else checkpoint.path.resolve().parent
    home = folder.parent if folder.name == "checkpoints" else checkpoint.path
    path = request.plot or home / f"singular_values-step-{checkpoint.step:08d}.png"
    if path.suffix != ".png":
        raise UserError(f"plot={path}: a PNG file is written; give a name that ends in .png, or plot=none")
    try:
        check_writable(path)
    except OSError as error:
        raise UserError(f"plot={path} cannot be written ({error.strerror}); give another plot=FILE, or plot=none") from None
    return path


def _draw(record: dict[str, Any], path: Path) -> None:
    """The plot of the singular values of D's layers and, if they were inspected, of G's."""
    networks = {
        f"discriminator {record['discriminator']}, normalization {record['normalization']}, step {record['step']}": record["layers"]
    }
    generator = record["generator"]
    if generator:
        title = f"generator {generator['name']}, normalization {generator['normalization']}, {generator['weights']} weights"
        networks[title] = generator["layers"]
    spectra = {title: {layer["name"]: layer["singular_values"] for layer in layers} for title, layers in networks.items()}
    try:
        write_spectra(spectra, path)
    except OSError as error:
        raise UserError(f"plot={path} cannot be written ({error.strerror}); give another plot=FILE, or plot=none") from None
