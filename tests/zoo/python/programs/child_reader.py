"""A thread reads a child's lines: the master gets every line, and a clone, whose pipe is a dead end, gets the end of file."""

import subprocess

from harness import background, family, python, until

LINES = 3000
child = subprocess.Popen(
    python("-c", f"for i in range({LINES}): print(i); i % 20 or __import__('time').sleep(0.005)"),
    stdout=subprocess.PIPE,
    text=True,
)
got: list[int] = []


def read() -> None:
    for line in child.stdout:
        got.append(int(line))


reader = background(read)
until(lambda: len(got) > 100, "the first lines")


def work(vmid: int) -> int:
    reader.join()  # both see an end
    assert got == list(range(len(got))), "lines are missing in between"
    return len(got)


master, clones = family(work)
assert master == LINES, f"the master lost {LINES - master} lines"
assert all(100 < count < LINES for count in clones), clones
assert child.wait() == 0
