"""A program behind a pseudo-terminal, as pexpect runs it: the master's goes on, a clone's terminal is a dead end."""

import pexpect
from harness import family, raised

child = pexpect.spawn("cat", encoding="utf-8", timeout=60)


def echoed(line: str) -> None:
    child.sendline(line)
    child.expect_exact(f"{line}\r\n{line}\r\n")


echoed("before")


def work(vmid: int) -> str:
    return raised(echoed, "meanwhile")


master, clones = family(work)
assert master == "", master
assert all(error in ("EOF", "OSError", "ExceptionPexpect") for error in clones), clones
echoed("after")
child.sendeof()
child.expect(pexpect.EOF)
child.close()
assert child.exitstatus == 0
