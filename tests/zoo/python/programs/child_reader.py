"""A thread reads a child's lines: the master gets every line, and a clone, whose pipe is a dead end, gets the end of file."""

import subprocess

from harness import background, family, python, until

LINES = 3000
# It writes on while clones are made, and says the last third when the master tells it to.
CHILD = f"""
import time
for i in range({LINES}):
    if i == {LINES * 2 // 3}: input()
    print(i)
    i % 20 or time.sleep(0.005)
"""
child = subprocess.Popen(python("-c", CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
got: list[int] = []


def read() -> None:
    for line in child.stdout:
        got.append(int(line))


reader = background(read)
until(lambda: len(got) > 100, "the first lines")


def work(vmid: int) -> int:
    if not vmid:
        print(file=child.stdin, flush=True)
    reader.join()  # both see an end
    assert got == list(range(len(got))), "lines are missing in between"
    return len(got)


master, clones = family(work)
assert master == LINES, f"the master lost {LINES - master} lines"
assert all(100 < count < LINES for count in clones), clones
assert child.wait() == 0
