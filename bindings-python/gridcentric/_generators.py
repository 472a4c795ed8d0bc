"""The table of known random number generators, gridcentric/generators.def, for Python. src/generators.cpp reseeds them in a
clone; the core finds those that are loaded and repeat (explain(), GRIDCENTRIC_STRICT).
"""

from __future__ import annotations

from typing import NamedTuple

from gridcentric import _native


class Generator(NamedTuple):
    name: str
    found_as: str  # "FUNCTION", "OBJECT", "TEXT", "MODULE", "PACKAGE", "NODE"
    evidence: str
    outcome: str  # "RESEEDED", "REPEATS"
    tried: str
    what: str


ALL = tuple(Generator(*row) for row in _native.known_generators())
