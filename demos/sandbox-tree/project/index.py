"""How often each word occurs in a text, in alphabetical order. Counts how many words anybody has looked at."""

from bisect import bisect_left
from collections import Counter
from pathlib import Path


class Index:
    def __init__(self, file):
        with Path(file).open() as lines:
            counts = Counter(word for line in lines for word in line.lower().split())
        self._words = sorted(counts)
        self._counts = counts
        self.looked = 0

    def __len__(self):
        return len(self._words)

    def __getitem__(self, number):
        """The word at that place of the alphabet."""
        self.looked += 1
        return self._words[number]

    def place(self, start):
        """Where the words begin that are not before `start`."""
        self.looked += len(self._words).bit_length()
        return bisect_left(self._words, start)

    def count(self, word):
        return self._counts[word]
