"""Modules of one's own, which register names."""

from __future__ import annotations

import importlib
import os
import sys

from sngan.errors import UserError


def import_plugin(module: str) -> None:
    """Imports a module by name, from the working folder or as installed; `UserError` says what is wrong with it."""
    sys.path.insert(0, os.getcwd())  # a console script does not look there
    try:
        importlib.import_module(module)
    except Exception as error:  # a plugin is foreign code and may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"plugins={module}: {reason}; give a module that can be imported from this folder") from None
    finally:
        sys.path.pop(0)
