"""Counts the words of a text, by workers (python mincemeat.py -p changeme SERVER).

example.py [TEXT [PORT]]      prints lines of JSON: that it listens, each task that is done, the result"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import mincemeat
import words

CHUNK = 256 * 1024


class Chunks(Mapping):
    """A text in pieces that end where a line ends, each read when it is needed."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("rb")
        self._starts = [0]
        size = file.stat().st_size
        while self._starts[-1] < size:
            self._file.seek(self._starts[-1] + CHUNK)
            self._file.readline()
            self._starts.append(min(size, self._file.tell()))

    def __getitem__(self, number: int) -> str:
        self._file.seek(self._starts[number])
        return self._file.read(self._starts[number + 1] - self._starts[number]).decode()

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self._starts) - 1


def mapfn(number, text):
    for word in text.split():
        yield word, 1


def reducefn(word, counts):
    return sum(counts)


def say(**line):
    print(json.dumps(line), flush=True)


def main() -> None:
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "text.txt")
    port = int(sys.argv[2]) if len(sys.argv) > 2 else mincemeat.PORT
    server = mincemeat.Server()
    server.datasource = Chunks(file)
    server.mapfn, server.collectfn, server.reducefn = mapfn, reducefn, reducefn
    server.listening = lambda port: say(port=port)
    server.progress = lambda what, task, worker, done, of: say(what=what, task=task, worker=worker, done=done, of=of)
    counts = server.run_server(password="changeme", port=port)
    top = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    say(words=sum(counts.values()), different=len(counts), digest=words.digest(counts), top=top)


main()
