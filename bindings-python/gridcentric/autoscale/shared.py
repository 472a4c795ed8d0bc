"""Finds the files that the autoscalers of Python and Node share: beside this file in the installed package, in their own
folder in a checkout."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FOLDERS = (_HERE, _HERE.parents[2] / "autoscale")


def shared(name: str) -> str:
    """The text of the file."""
    return next(file for folder in _FOLDERS if (file := folder / name).exists()).read_text()
