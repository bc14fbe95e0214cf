"""The page: templates that escape every text, one style sheet, one short script, and a policy that forbids anything else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sngan.provenance import versions
from sngan.report import charts, formatting

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **context: Any) -> str:
    """A template with its context as one file that needs no other."""
    script = (TEMPLATES / "page.js").read_text()
    # the browser runs this one script and loads nothing: text that got past the escaping would still be only text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            policy=policy,
            style=Markup((TEMPLATES / "page.css").read_text()),
            script=Markup(script),
            version=versions()["sngan"],
            size=charts,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("number", "count", "mean_of", "interval", "duration", "breakable"):
        environment.filters[name] = getattr(formatting, name)
    return environment
