"""The card of an exported generator: what it is, how it was trained, and its scores with their protocol. It names no file of the machine."""

from __future__ import annotations

from typing import Any

from sngan.export.compare import Compared
from sngan.export.formats.format import Format
from sngan.export.request import Export
from sngan.provenance import versions
from sngan.runs import earlier
from sngan.runs.checkpoint import GENERATORS, Checkpoint
from sngan.runs.exported import public
from sngan.runs.records import Record, checked, read_metrics
from sngan.sampling.rounding import FORMULAS
from sngan.sampling.trained import TrainedGenerator

TEMPLATE = """\
---
license: {license}
library_name: sngan
pipeline_tag: unconditional-image-generation
tags:
- gan
- spectral-normalization
- image-generation
---

# {title}

A generator of a spectral-normalisation GAN (Miyato et al. 2018, https://arxiv.org/abs/1802.05957), trained with sngan {sngan}.
{licence_said}

## Use

`{file}` is run by {runtime}. {signature}

```python
{usage}
```

{compared}

## Scores

{scores}

## Training

| | |
|---|---|
{facts}

<details><summary>The whole config</summary>

{config}

</details>
"""


def card(request: Export, checkpoint: Checkpoint, G: TrainedGenerator, how: Format, compared: Compared, *, sha256: str) -> str:
    """Markdown with a head in YAML, as the Hugging Face Hub reads it."""
    config, values = checkpoint.config(), public(checkpoint.config())
    y_numpy, y_torch = (f', "y": np.arange(16) % {G.n_classes}', f", torch.arange(16) % {G.n_classes}") if G.n_classes else ("", "")
    facts = {
        "data": f"{config.data.name}, {G.spec.channels} x {G.spec.size} px, {G.n_classes or 'no'} classes used",
        "step": f"{checkpoint.step} of {config.steps}",
        "seed": config.seed,
        "weights": f"{request.weights}, batch norm: {G.batch_norm}",
        "generator": config.generator.name,
        "discriminator": f"{config.discriminator.name}, normalization {config.discriminator.normalization}",
        "loss": f"{config.loss.name}, regularizer {config.regularizer.name}",
        f"sha256 of {how.file}": f"`{sha256}`",
        "sha256 of the checkpoint's generator": f"`{checkpoint.sha256[GENERATORS[request.weights]]}`",
        "sha256 of the images": f"`{values['data.sha256']}`" if values.get("data.sha256") else None,
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return TEMPLATE.format(
        license=request.license or "unknown",
        title=f"SNGAN, {config.generator.name} on {config.data.name}",
        sngan=versions()["sngan"],
        licence_said=f"Licence: {request.license}." if request.license else "No licence was stated.",
        file=how.file,
        runtime=how.runtime,
        signature=_signature(request, G),
        usage=how.usage.strip().format(z_dim=G.z_dim, y_numpy=y_numpy, y_torch=y_torch),
        compared=_compared(compared, uint8=request.uint8),
        scores="\n".join(_scores(checkpoint, request.weights)) or "It has not been scored.",
        facts="\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items() if value is not None),
        config="\n".join(["| key | value |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in values.items())]),
    )


def _signature(request: Export, G: TrainedGenerator) -> str:
    size = str(["N", *G.spec.shape]).replace("'", "")
    latents = f"It maps latents z float32 [N, {G.z_dim}] ~ N(0, I)"
    labels = f" and labels y int64 [N] in 0..{G.n_classes - 1}" if G.n_classes else ""
    levels = f"uint8 {size} in 0..255, rounded by {FORMULAS[G.rounding]}" if request.uint8 else f"float32 {size} in [-1, 1]"
    inside = (
        "" if request.truncation is None else f" Latents are truncated to [-{request.truncation:g}, {request.truncation:g}] inside."
    )
    return f"{latents}{labels} to images {levels}.{inside}"


def _compared(compared: Compared, *, uint8: bool) -> str:
    unit = "levels of 256" if uint8 else "of [-1, 1]"
    return f"Its images of {compared.n} latents differ from those of the trained network by at most {compared.largest:.2g} {unit}."


def _scores(checkpoint: Checkpoint, weights: str) -> list[str]:
    """A table of the last value of each score of these weights, with the real-data baseline."""
    rows = {}
    for record in _records(checkpoint, weights):
        baseline = list(record.floor.scores.values()) if record.floor else []
        for i, (name, value) in enumerate(record.scores.items()):
            deviation = f" ± {record.deviations[name]:.2g}" if name in record.deviations else ""
            real = (
                f"{baseline[i]:.4g} ({record.floor.n} {record.floor.split} images)" if record.floor and i < len(baseline) else "–"
            )
            rows[name] = f"| `{_cell(name)}` | {value:.4g}{deviation} | {real} | {_cell(_taken(record))} |"
    return ["| score | value | real-data baseline | protocol |", "|---|---|---|---|", *rows.values()] if rows else []


def _taken(record: Record) -> str:
    """How a score was measured."""
    protocol, reference, extractor = record.protocol, record.reference, record.extractor
    draws = f"{protocol['draws']} x " if protocol.get("draws", 1) != 1 else ""
    return (
        f"{draws}{protocol.get('n')} samples of seed {protocol.get('seed')}, rounding {protocol.get('rounding')}; "
        f"{reference.get('n')} {reference.get('split')} images of {reference.get('data')}, sha256 {str(reference.get('sha256'))[:16]}…; "
        f"extractor {extractor.get('label')}, sha256 {str(extractor.get('sha256'))[:16]}…"
    )


def _records(checkpoint: Checkpoint, weights: str) -> list[Record]:
    """The records of this checkpoint's generator: those with its hash."""
    folder = checkpoint.path.resolve().parent
    path = (folder.parent if folder.name == "checkpoints" else checkpoint.path) / "metrics.jsonl"
    sha256 = checkpoint.sha256[GENERATORS[weights]]
    lines = [earlier.record(line) for line in read_metrics(path)]
    return [checked(Record, path, line) for line in lines if line.get("generator") == sha256 and line.get("weights") == weights]


def _cell(value: Any) -> str:
    """Text that stays in its cell of a table."""
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
