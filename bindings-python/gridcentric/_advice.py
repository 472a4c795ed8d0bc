"""How to install what an optional part needs: commands that work wherever this installation came from.

They do not use the project's own name, because a package index may have a different project under it.
"""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata


def install(extra: str) -> str:
    """The command that installs what the extra (a name of pyproject.toml's optional dependencies) needs."""
    needs = []
    for line in metadata.requires("gridcentric") or ():
        requirement, _, marker = line.partition(";")
        if re.search(rf"""extra\s*==\s*["']{re.escape(extra)}["']""", marker):
            needs.append(requirement.strip())
    return shlex.join([sys.executable, "-m", "pip", "install", *needs])
