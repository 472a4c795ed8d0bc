"""Where the files lie that the autoscalers of Python and Node share: in the installed package beside this one, in a
checkout in a folder of their own."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FOLDERS = (_HERE, _HERE.parents[2] / "autoscale")


def shared(name: str) -> str:
    """The text of the file."""
    return next(file for folder in _FOLDERS if (file := folder / name).exists()).read_text()
