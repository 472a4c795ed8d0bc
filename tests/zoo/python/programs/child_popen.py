"""A Popen's child is the master's: in a clone it has ended, not with success, and kill() does not reach it."""

import subprocess

from harness import family

child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def echo(line: str) -> str:
    child.stdin.write(line + "\n")
    return child.stdout.readline().rstrip()


assert echo("before") == "before"


def work(vmid: int) -> object:
    if not vmid:
        return echo("meanwhile")
    status = child.poll()
    child.kill()
    child.terminate()
    assert child.wait() == status
    assert subprocess.check_output(["echo", "own"], text=True) == "own\n"
    return status


master, clones = family(work)
assert master == "meanwhile"
assert all(status not in (None, 0) for status in clones), clones
assert echo("after") == "after", "a clone killed the master's child"
child.stdin.close()
assert child.wait() == 0
