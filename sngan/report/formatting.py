"""Numbers, times and protocols in words."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from sngan.report.statistics import Difference, Spread
from sngan.runs.records import Record
from sngan.runs.run import Run


def number(value: float) -> str:
    """Four significant digits, zeros kept so that columns line up; no exponent for what is large."""
    text = f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 10_000 else f"{value:#.4g}".removesuffix(".")
    return text.replace("-", "−", 1) if text.startswith("-") else text


def count(value: Any) -> str:
    """50000 -> 50,000; what is no number as it is, None as a dash."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def breakable(text: str) -> Markup:
    """A name that a narrow column may break after its underscores and hyphens."""
    return Markup("<wbr>").join(re.split(r"(?<=[_-])", text))


def mean_of(spread: Spread) -> str:
    """`10.4 ± 1.2`: as many places as two digits of the deviation have."""
    if not spread.deviation or not math.isfinite(spread.deviation):
        return number(spread.mean) + ("" if spread.deviation is None else f" ± {number(spread.deviation)}")
    places = max(0, 1 - math.floor(math.log10(spread.deviation)))
    return f"{spread.mean:,.{places}f} ± {spread.deviation:,.{places}f}"


def interval(difference: Difference) -> str:
    """`+4.2 (0.9 to 7.5)`."""
    return f"{difference.mean:+.3g} ({difference.low:.3g} to {difference.high:.3g})".replace("-", "−").replace("e−", "e-")


def duration(seconds: float | None) -> str:
    """150 -> 2 min 30 s."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {m} min"
    return f"{m} min {s} s" if m else f"{s} s"


def protocol(record: Record) -> str:
    """A sentence on how a score was measured."""
    p, reference, extractor = record.protocol, record.reference, record.extractor
    draws = p.get("draws")
    samples = f"{count(draws)} × {count(p.get('n'))}" if isinstance(draws, int) and draws > 1 else count(p.get("n"))
    return (
        f"protocol {p.get('name', '?')}: {samples} samples of seed {p.get('seed', '?')} against {count(reference.get('n'))} "
        f"{reference.get('split', '?')} images of {reference.get('data', '?')} (sha256 {_hash(reference)}) in the features of "
        f"{extractor.get('label', '?')} (sha256 {_hash(extractor)}); {record.weights} weights, batch norm {record.batch_norm}, "
        f"rounding {p.get('rounding', '?')}"
    )


def deviation_of(record: Record, name: str) -> str:
    """What the deviation of a single run is taken over."""
    draws, splits = record.protocol.get("draws"), record.protocol.get("splits")
    if isinstance(draws, int) and draws > 1:
        return f"{draws} draws"
    return "random subsets" if name.startswith(("kid_", "kd_")) else f"{splits} splits"


def environment(run: Run) -> list[str]:
    """Device and versions of each session that differs from the one before."""
    lines = [f"{s.device}; {', '.join(f'{name} {version}' for name, version in s.versions.items())}" for s in run.sessions]
    return list(dict.fromkeys(lines))


def relative(target: Path, home: Path) -> str:
    """A path as seen from the page's folder."""
    return os.path.relpath(target, home)


def href(target: Path, home: Path) -> str:
    """A relative address of a file or folder, as seen from the page's folder; nothing in it can be read as a scheme."""
    return quote(os.fsencode(relative(target, home)))


def names(paths: list[Path]) -> dict[Path, str]:
    """Short names of run folders: what they do not have in common."""
    if len(paths) == 1:
        return {path: str(path) for path in paths}
    common = os.path.commonpath([path.absolute() for path in paths])
    return {path: os.path.relpath(path, common) for path in paths}


def _hash(content: dict[str, Any]) -> str:
    return f"{str(content.get('sha256', '?'))[:12]}…"
