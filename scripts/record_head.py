"""What the record of a script's measurements begins with."""

from __future__ import annotations

from datetime import date
from typing import Any

import torch

from sngan.devices import describe
from sngan.provenance import commit, versions


def head(script: str, what: str, device: str = "cpu") -> dict[str, Any]:
    """What was measured, when, on what, and by which command of which commit."""
    return {
        "what": what,
        "date": date.today().isoformat(),
        "device": describe(torch.device(device)),
        "versions": versions(),
        "commit": commit(),
        "command": f"python scripts/{script}",
    }
