"""`precision=auto`: bfloat16 where this device is faster in it and a record says that it scores alike, else float32."""

from __future__ import annotations

import json
import math
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field

from sngan import distributed
from sngan.config import Config, Section
from sngan.errors import DamagedError
from sngan.files import read_object
from sngan.keys import flat
from sngan.precision import precision

RECORDS = Path(__file__).with_name("bf16.json")

WORTH = 1.2
"""How many times as fast a convolution must be."""

Settled = TypeVar("Settled", bound=Config)
Scores = Annotated[tuple[float, ...], Field(min_length=3)]


class Evidence(Section):
    """What a record in scripts/results says of a game in both precisions, a score for each seed."""

    game: dict[str, Any]
    """Keys of the config, named with dots, and their values; the others do not matter."""
    score: str
    fp32: Scores
    bf16: Scores
    record: str
    """The file."""

    def is_of(self, config: Config) -> bool:
        """Whether the run's game is the record's."""
        values = flat(config.model_dump(mode="json"))
        return all(key in values and values[key] == value for key, value in self.game.items())

    def is_equal(self) -> bool:
        """Whether the means differ by less than their standard error."""
        error = math.hypot(*(statistics.stdev(scores) / math.sqrt(len(scores)) for scores in (self.fp32, self.bf16)))
        return abs(statistics.fmean(self.fp32) - statistics.fmean(self.bf16)) <= error


def settled(config: Settled, device: torch.device) -> Settled:
    """The config with the precision that `auto` stands for, and a line on the terminal that says why.

    It is what the run folder says, if there is one: a run goes on as it began, or is refused by `check_precision`. All ranks take what the
    first one finds.
    """
    if config.precision != "auto":
        return config
    choice = _choice(config, device) if distributed.rank() == 0 else ("fp32", "")
    kind, reason = distributed.from_first_rank(choice)
    if distributed.rank() == 0:
        print(f"precision {kind}: {reason}", flush=True)
    return config.model_copy(update={"precision": kind})


def _choice(config: Config, device: torch.device) -> tuple[str, str]:
    with suppress(DamagedError):  # the run's newest checkpoint also knows, and is compared
        before = (read_object(config.run_dir / "config.json") or {}).get("precision")
        if before is not None:
            return before, "as the run began"
    found = [evidence for evidence in evidences() if evidence.is_of(config)]
    if not found:
        return "fp32", "no record compares scores of this game in bf16"
    if not all(evidence.is_equal() for evidence in found):
        return "fp32", f"bf16 scores otherwise in {found[0].record}"
    if not is_faster(device):
        return "fp32", "this device is not faster in bf16"
    return "bf16", f"faster here, with the scores of fp32 in {found[0].record}"


def evidences() -> list[Evidence]:
    """The records that the package ships."""
    return [Evidence.model_validate(row) for row in json.loads(RECORDS.read_text())]


def is_faster(device: torch.device) -> bool:
    """Whether a convolution is at least `WORTH` times as fast in bfloat16, timed now."""
    x, w = torch.ones(32, 64, 16, 16, device=device), torch.ones(64, 64, 3, 3, device=device)
    x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
    best = dict.fromkeys(("fp32", "bf16"), math.inf)
    with torch.no_grad():
        for i in range(6):  # in turn; the first is a warm-up
            for kind in best:
                with precision(kind, device):  # type: ignore[arg-type]
                    start = time.perf_counter()
                    F.conv2d(x, w, padding=1).sum().item()  # waits for the device
                if i:
                    best[kind] = min(best[kind], time.perf_counter() - start)
    return best["fp32"] > WORTH * best["bf16"]
