"""Finds the Node package of gridcentric, for code that uses both languages. Knows only files."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def find() -> Path | None:
    """The package that GRIDCENTRIC_NODE_MODULE names, otherwise that of the same checkout or of the system; never the working
    directory's, which could be anybody's."""
    named = os.environ.get("GRIDCENTRIC_NODE_MODULE")
    modules = (Path(sys.prefix).parent / "node_modules", Path("/usr/local/lib/node_modules"), Path("/usr/lib/node_modules"))
    folders = (*([Path(named)] if named else []), *(module / "gridcentric" for module in modules))
    return next((folder for folder in folders if (folder / "package.json").exists()), None)
