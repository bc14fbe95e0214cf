"""The typed schema of a training run, checked once, with errors that name the key. Requests of other commands are in `request.py` of their folders.

Hydra composes `configs/`; `sngan.cli` hands the result to `parse`. The values, and so the defaults, live in the YAML files; the types
and the ranges live here and, for the options of a component, in the signature of its builder (`sngan.registry`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from sngan import registry
from sngan.errors import UserError, explain

MOST_SAMPLES = 1_000_000
"""All latents of a request are in memory at once: 0.5 GB of them."""

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Sign = Annotated[float, Field(gt=-1.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Batch = Annotated[int, Field(ge=2, le=65_536)]
MOST_SIDE = 2048
ZDim = Annotated[int, Field(gt=0, le=2048)]
Width = Annotated[int, Field(gt=0, le=8192)]
MOST_LAYERS = 32
"""Upper bounds are far above all that is published; a stranger's config beyond them is refused before memory is taken."""

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


def _scale(value: Any) -> float | Literal["learned"]:
    if value == "learned":
        return "learned"
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise ValueError("input should be a number greater than 0, or learned")


def _resolution(value: Any) -> int | tuple[int, int]:
    height, width = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    if all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MOST_SIDE for side in (height, width)):
        return height if height == width else (height, width)
    raise ValueError(f"input should be the side of square images, or [height,width], in 1 to {MOST_SIDE} pixels")


def sides(resolution: Resolution) -> tuple[int, int]:
    """Height and width."""
    return resolution if isinstance(resolution, tuple) else (resolution, resolution)


def size_of(resolution: Resolution) -> str:
    """For messages: the side, or height x width."""
    height, width = sides(resolution)
    return str(height) if height == width else f"{height} x {width}"


# one message, where a union would give one for each of its members
Resolution = Annotated[
    int | tuple[int, int], PlainValidator(_resolution), PlainSerializer(lambda resolution: resolution, return_type=Any)
]
Scale = Annotated[float | Literal["learned"], PlainValidator(_scale)]


def _device(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
        return value
    raise ValueError("input should be auto, cpu, cuda, cuda:N for the GPU of that number, or mps")


Device = Annotated[str, PlainValidator(_device)]


class Section(BaseModel):
    """A frozen group of keys; unknown keys, implicit conversions, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Component(Section, extra="allow"):
    """Something that the registry builds: its name, and its options as further keys."""

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the builder."""
        return dict(self.model_extra or {})


class Network(Component):
    """A network (name and options), and how its weights are normalised."""

    normalization: str
    scale: Scale
    """A factor on the weights of spectral or weight norm; learned: a trained factor per layer, for weight norm per row (paper appendix E)."""
    exclude: tuple[str, ...]
    """Layers that keep their weights, by name or pattern."""
    norm_of: Literal["matrix", "map"]
    """What sigma is of: a convolution's weight as a matrix (the paper), or the convolution as a linear map on the maps that it sees."""
    power_iterations: Annotated[int, Field(gt=0, le=1000)]
    """Power iterations of spectral norm at each update of sigma."""
    iterate_per: Literal["update", "forward"]
    """When spectral norm updates sigma: once per update of the weights (Algorithm 1), or in each forward (author code)."""


class GeneratorNetwork(Network):
    """G. Its batch norm is part of the network, so only weight norms can be chosen."""

    normalization: Literal["none", "spectral", "weight", "bjorck"]


class DiscriminatorNetwork(Network):
    """D. Spectral norm, weight norm and Björck orthonormalisation act on its weights, the others on its activations."""

    normalization: Literal["spectral", "weight", "bjorck", "batch", "layer", "instance", "group", "none"]


class Data(Component):
    """A data set (name and options), and how its images reach the device."""

    dequantize: bool
    """Add uniform noise of one grey level to real images (author code), so that their distribution has a density."""
    flip: bool
    """Mirror each real image with probability one half."""
    resident_mb: NonNegativeFloat
    """Images that take at most this many MB live on the device as uint8; others are streamed by worker processes."""
    workers: Annotated[int, Field(ge=0, le=256)]
    """Worker processes that decode streamed images; 0 decodes in the training process."""

    @property
    def described(self) -> dict[str, Any]:
        """Which images these are, for records: the name and the options, but for whether they are kept decoded."""
        return {"name": self.name, **{key: value for key, value in self.options.items() if key != "cache"}}


class OwnOptimizer(Section):
    """What the Adam of one network has of its own; null: what both have."""

    lr: PositiveFloat | None
    betas: tuple[Fraction, Fraction] | None


class Optimizer(Section):
    """Adam, the same for G and D (paper Table 1) but for what they have of their own, such as two rates (TTUR, Heusel et al. 2017)."""

    lr: PositiveFloat
    betas: tuple[Fraction, Fraction]
    decay: Literal["none", "linear"]
    """`linear`: the learning rate falls linearly to 0 at the last step (author code)."""
    decay_from: NonNegativeInt
    """The step at which the fall begins: 0 in the author code for CIFAR-10, a later one in Miyato & Koyama 2018."""
    g: OwnOptimizer
    d: OwnOptimizer

    def of(self, network: Literal["g", "d"]) -> Optimizer:
        """The one of G or of D: its `lr` and `betas` are those to use."""
        own = self.g if network == "g" else self.d
        return self.model_copy(update={key: value for key, value in own if value is not None})


class EMA(Section):
    """The exponential moving average of G's weights; decay 0 is G itself."""

    decay: Fraction
    recalibrate: Annotated[int, Field(ge=0, le=MOST_SAMPLES // 2)]
    """Batches of fresh samples from which G_ema's batch-norm statistics are measured before it is scored or shown; 0 keeps G's."""


Interval = NonNegativeInt
"""Steps from one action to the next; 0: never (`due`)."""


def due(step: int, every: int) -> bool:
    """Whether an action with this interval is due after `step` steps."""
    return every > 0 and step % every == 0


class Keep(Section):
    """Which checkpoints stay: the last `last`, one every `every` steps, which is never removed (0: none), and the best by the quick score."""

    last: PositiveInt
    every: Interval


Rounding = Literal["inverse", "nearest", "truncate"]
"""How images in [-1, 1] are rounded to 256 levels (`sngan.sampling.rounding`)."""


class Protocol(Section):
    """How a score is measured; the score's name and record say all of it."""

    name: str
    n: Annotated[int, Field(ge=2, le=MOST_SAMPLES)]
    """Samples in a draw."""
    draws: Annotated[int, Field(ge=1, le=1000)]
    """Draws of n samples; the score is the mean over the draws, shown with its deviation if there are several."""
    reference: Literal["train", "test"]
    """The split of real images to compare with."""
    n_reference: Annotated[int, Field(ge=2)] | None
    """The number of real images, from the first on; null: all."""
    metrics: Annotated[tuple[Literal["fid", "is", "kid", "precision_recall", "recognised"], ...], Field(min_length=1)]
    splits: PositiveInt
    """Parts into which the samples of a draw are split for the Inception score."""
    n_precision_recall: Annotated[int, Field(ge=4)]
    """The most samples and real images, from the first on, for precision and recall, whose cost grows with the square of this number."""
    rounding: Literal["auto"] | Rounding
    """How samples are rounded to 256 levels; auto: the inverse of the scaling of the run's real images. Records name the rounding that was used."""
    seed: Seed
    """The seed of the samples' latents."""


class Config(Section):
    """Everything that defines a training run."""

    name: FolderName
    run_dir: Path
    seed: Seed
    steps: Annotated[int, Field(gt=0, lt=2**53)]
    batch: Batch
    """Real images, and as many fakes, per discriminator update; the sum over ranks and micro-batches."""
    g_batch: Batch
    """Latents per generator update; the sum over ranks and micro-batches."""
    accumulate: Annotated[int, Field(ge=1, le=1024)]
    """Micro-batches into which each rank splits its part of a batch; their gradients are averaged, and their batch statistics are their own."""

    @property
    def g_micro_batch(self) -> int:
        """Latents of a micro-batch of all ranks."""
        return self.g_batch // self.accumulate

    d_steps: Annotated[int, Field(gt=0, le=1000)]
    conditional: bool
    sync_batch_norm: bool
    """Batch norm of G and D has the statistics of the whole batch instead of each rank's share."""

    generator: GeneratorNetwork
    discriminator: DiscriminatorNetwork
    loss: Component
    regularizer: Component
    """The penalty that is added to the loss of D."""
    augment: Component
    """The change of every image that D sees."""
    weight_clip: PositiveFloat | None
    """After each discriminator update, D's parameters are clipped to [-weight_clip, weight_clip] (Arjovsky et al. 2017)."""
    g_orthogonal: PositiveFloat | None
    """The weight of BigGAN's orthogonal regularisation in the loss of G."""
    data: Data
    optimizer: Optimizer
    ema: EMA

    init: Path | None
    """The run folder or checkpoint whose weights a new run begins with."""
    init_networks: Annotated[tuple[Literal["G", "D"], ...], Field(min_length=1, max_length=2)]
    freeze_d: Annotated[int, Field(ge=0, le=1000)]
    """The blocks of D, from the image up, that keep the weights of `init` (FreezeD, Mo et al. 2020)."""

    device: Device
    precision: Literal["auto", "fp32", "tf32", "bf16"]
    """auto: bf16 where it is faster and known to score alike, else fp32; the run folder's config holds which."""
    engine: Literal["auto", "eager", "compile", "graph", "compiled_graph"]
    """How a training step is run: as written, with compiled networks, as one CUDA graph, or as one graph of compiled networks."""

    log_every: Interval
    sample_every: Interval
    save_every: Interval
    evaluate_every: Interval
    keep: Keep
    resume: Literal["auto", "never", "force"]
    on_nan: Literal["stop", "rollback"]
    """What becomes of a run whose loss or weights are not finite: it stops, or goes back to its last checkpoint and on with other latents."""

    protocol: Protocol | None
    """The protocol of the full score at the end; null: the run is never scored."""
    quick: Protocol | None
    """The protocol of the scores during training."""
    extractor: Component

    plugins: tuple[str, ...]
    """Modules to import first, because they register names; honoured from the command line only."""

    @model_validator(mode="after")
    def _recalibrates_with_few(self) -> Self:
        if self.ema.recalibrate * self.g_batch > MOST_SAMPLES:
            raise UserError(
                f"ema.recalibrate={self.ema.recalibrate} batches of g_batch={self.g_batch} are more than {MOST_SAMPLES} samples; take fewer"
            )
        return self


FREE = {
    "run_dir",
    "name",
    "device",
    "engine",
    "log_every",
    "sample_every",
    "save_every",
    "evaluate_every",
    "keep",
    "resume",
    "on_nan",
    "protocol",
    "quick",
    "extractor",
    "plugins",
    "data.root",
    "data.download",
    "data.resident_mb",
    "data.workers",
    "data.cache",
}
"""Keys that may change between the sessions of a run, because they do not change what is trained.

`data.path` is not among them: only reading all files would tell whether those of another path have the same content.
"""


Schema = TypeVar("Schema", bound=Section)


def parse(schema: type[Schema], values: Mapping[str, Any], *, build_check: bool = True) -> Schema:
    """The checked config; raises `UserError` that names the first key at fault, what it was given and what is allowed.

    `build_check=False` leaves the components' names and options to `registry.build`: a checkpoint may name a loss that only a plugin
    knows, and still be sampled from.
    """
    try:
        # through JSON, where strict still reads a list as a tuple, a string as a path and an int as a float
        parsed = schema.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, prefix="", allowed=_keys_beside(error, schema))) from None
    for group in registry.PACKAGES if build_check else ():
        component = getattr(parsed, group, None)
        if component is not None:
            registry.check(group, component)
    return parsed


def _keys_beside(error: ValidationError, schema: type[BaseModel]) -> list[str]:
    """The keys allowed where the first fault is."""
    for part in error.errors()[0]["loc"][:-1]:
        field = schema.model_fields.get(str(part))
        sections = (
            [t for t in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(t, type)] if field else []
        )
        schema = next((t for t in sections if issubclass(t, BaseModel)), schema)
    return list(schema.model_fields)
