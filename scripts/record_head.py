"""What the record of a script's measurements on a CPU begins with."""

from __future__ import annotations

from datetime import date
from typing import Any

import torch

from sngan.devices import describe
from sngan.provenance import commit, versions


def head(script: str, what: str) -> dict[str, Any]:
    """What was measured, when, on what, and by which command of which commit."""
    return {
        "what": what,
        "date": date.today().isoformat(),
        "device": describe(torch.device("cpu")),
        "versions": versions(),
        "commit": commit(),
        "command": f"python scripts/{script}",
    }
