"""The text whose words are counted: Zipf's law, a seed, a size. The same seed makes the same text. Also the plain count, by
which a result is checked.

    words.py FILE [BYTES [SEED]]      writes it"""

from __future__ import annotations

import hashlib
import itertools
import random
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

SIZE, SEED = 28_000_000, 2010
VOCABULARY = 30_000
WORDS_A_LINE = 14
SYLLABLES = [a + b for a in "bdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "ou")]


def vocabulary(dice: random.Random) -> list[str]:
    """The words by rank: the more frequent, the shorter."""
    found: dict[str, None] = {}
    for length in itertools.count(1):
        wanted = min(VOCABULARY, 10 ** (length + 1))
        for _ in range(3 * wanted):
            if len(found) < wanted:
                found["".join(dice.choices(SYLLABLES, k=length))] = None
        if len(found) == VOCABULARY:
            return list(found)
    raise AssertionError


def text(size: int = SIZE, seed: int = SEED) -> str:
    """That many characters, all of them ASCII; the last word may be cut short."""
    dice = random.Random(seed)
    words = vocabulary(dice)
    shares = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    lines: list[str] = []
    length = 0
    while length < size:
        line = " ".join(dice.choices(words, cum_weights=shares, k=WORDS_A_LINE))
        lines.append(line)
        length += len(line) + 1
    return ("\n".join(lines))[: size - 1] + "\n"


def count(content: str) -> Counter[str]:
    return Counter(content.split())


def digest(counts: Mapping[str, int]) -> str:
    """The same for equal counts."""
    return hashlib.sha256("".join(f"{word} {counts[word]}\n" for word in sorted(counts)).encode()).hexdigest()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(*map(int, sys.argv[2:])))
