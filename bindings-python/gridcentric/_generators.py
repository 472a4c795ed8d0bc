"""The table of known generators of random numbers, gridcentric/generators.def, for Python. What is reseeded in a clone is in
src/generators.cpp; which of them are loaded and repeat, the core finds (explain(), GRIDCENTRIC_STRICT).
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
