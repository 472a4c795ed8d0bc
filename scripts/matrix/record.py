"""The results, kept in docs/platforms.json: one line per cell, so that testing some cells leaves the others unchanged.

It knows nothing of cells or of how they are tested.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

PASSED, FAILED, REFUSED, NOT_TRIED = "passed", "failed", "refused by name", "not tried"


@dataclass
class Record:
    outcome: str
    why: str = ""  # what failed, or why it wasn't tried
    passed: dict[str, int] = field(default_factory=dict)  # checks that passed, by program
    versions: dict[str, str] = field(default_factory=dict)
    package: str = ""  # what was tested: "wheel and tarball" or "checkout"
    seconds: float = 0
    date: str = ""


def load(path: Path) -> dict[str, Record]:
    if not path.exists():
        return {}
    return {name: Record(**values) for name, values in json.loads(path.read_text()).items()}


def save(path: Path, records: dict[str, Record]) -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(asdict(record))}" for name, record in sorted(records.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
