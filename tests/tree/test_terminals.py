"""Pseudo-terminals of which two processes of a tree have a side each: a clone has them anew. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from from_outside import needs

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))

# The child has the other side. It goes on when its parent says so, after the clone.
PAIR = """
import fcntl, os, pty, struct, subprocess, sys, termios, tty

master, slave = pty.openpty()
RAW = RAWNESS
if RAW: tty.setraw(slave)
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
settings = termios.tcgetattr(slave)
done, tell = os.pipe()
ready, go = os.pipe()
def read(fd, size):
    text = b""
    while len(text) < size: text += os.read(fd, size - len(text))
    return text
if os.fork() == 0:
    os.close(master)
    os.close(tell)
    CHILD_BEFORE
    os.write(go, b"x")
    os.read(done, 1)
    same = termios.tcgetattr(slave) == settings and os.get_terminal_size(slave) == (77, 33)
    CHILD_AFTER
    os._exit(0)
os.close(slave)
os.close(done)
os.read(ready, 1)
PARENT_BEFORE
ticket = subprocess.check_output(["gc", "rt", "2", "2", "1", "5000"], text=True).split()[1]
vmid = subprocess.run(["gc", "clone", ticket], stdout=subprocess.PIPE, text=True).stdout.strip()
os.close(tell)
PARENT_AFTER
os.write(1, f"{vmid} {said}\\n".encode())
if vmid == "0":
    subprocess.run(["gc", "wait", ticket], stdout=subprocess.DEVNULL, check=True)
"""

CASES = {
    "text in both directions, then the child's end": {
        "RAWNESS": "True",
        "CHILD_BEFORE": "os.write(slave, b'from child\\n' * 200)",
        "PARENT_BEFORE": "os.write(master, b'from parent\\n\\x03' * 100)",
        "CHILD_AFTER": "os.write(slave, b'%d' % (read(slave, 1300) == b'from parent\\n\\x03' * 100 and same))",
        "PARENT_AFTER": """said = [read(master, 2200) == b'from child\\n' * 200, read(master, 1)]
try: os.read(master, 1)
except OSError as error: said.append(error.errno)""",
        "said": "[True, b'1', 5]",
    },
    # One is ended by Ctrl-D, and one not yet. What is echoed waits for the parent.
    "lines that nobody has read": {
        "RAWNESS": "False",
        "PARENT_BEFORE": "os.write(master, b'one\\ntwo\\x04\\x04three\\npar')",
        "CHILD_AFTER": """lines = [os.read(slave, 100) for _ in range(5)]
    os.write(slave, b'%s %d' % (b'|'.join(lines).replace(b'\\n', b'$'), same))""",
        "PARENT_AFTER": """os.write(master, b'tial\\n')
said = b''
while not said.endswith(b' 1'): said += os.read(master, 100)""",
        "said": r"b'one\r\ntwothree\r\npartial\r\none$|two||three$|partial$ 1'",
    },
}


@repeated
@pytest.mark.parametrize("case", CASES)
def test_a_pseudo_terminal_between_parent_and_child(tree: Any, case: str, repeat: int) -> None:
    text = PAIR
    for part in ("RAWNESS", "CHILD_BEFORE", "CHILD_AFTER", "PARENT_BEFORE", "PARENT_AFTER"):
        text = text.replace(part, CASES[case].get(part, ""))
    (tree.folder / "pair.py").write_text(text)
    said = tree.lines(sys.executable, "pair.py")
    assert said == [f"{vmid} {CASES[case]['said']}" for vmid in range(3)]


# As a terminal program or pexpect starts it: the shell leads a session that the pseudo-terminal controls.
SHELL = """
import os, pty, subprocess, sys, time

pid, master = pty.fork()
if pid == 0:
    os.environ["PS1"] = "> "
    os.execvp("SHELL", [*"SHELL OPTIONS".split(), "-i"])
def until(text):
    seen = b""
    while not seen.endswith(text): seen += os.read(master, 1)
    return seen.decode().replace("\\r", "")[: -len(text)].strip()
def ask(command):
    os.write(master, command.encode() + b"\\n")
    return until(b"> ")
def wait_for_file(name):
    while not os.path.exists(name): time.sleep(0.01)
def interrupt():
    os.write(master, b"\\x03")
    return until(b"> ")
until(b"> ")
ask("stty -echo rows 20 cols 50; x=41")
before = ask("tty")
BEFORE
ticket = subprocess.check_output(["gc", "rt", "2", "2", "1", "5000"], text=True).split()[1]
vmid = subprocess.run(["gc", "clone", ticket], stdout=subprocess.PIPE, text=True).stdout.strip()
said = []
AFTER
os.write(master, b"exit 7\\n")
os.write(1, f"{vmid} {said} {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n".encode())
if vmid == "0":
    subprocess.run(["gc", "wait", ticket], stdout=subprocess.DEVNULL, check=True)
"""
OPTIONS = {"bash": "--norc --noediting", "dash": ""}


def in_a_shell(tree: Any, shell: str, before: str, after: str) -> list[str]:
    text = SHELL.replace("SHELL", shell).replace("OPTIONS", OPTIONS[shell])
    (tree.folder / "shell.py").write_text(text.replace("BEFORE", before).replace("AFTER", after))
    said: list[str] = tree.lines(sys.executable, "shell.py")
    return said


# What cat sends back shows that it has the terminal: Ctrl-C is for it then. The first clone's Ctrl-C ends its own one only.
CTRL_C = """
said += ask("echo $((x + 1)) $(stty size < /dev/tty)").split()
said.append((ask("tty") == before) == (vmid == "0"))
os.write(master, b"cat\\nrunning\\n")
until(b"running")
open("running." + vmid, "w").close()
if vmid == "1":
    for other in "02": wait_for_file("running." + other)
    interrupt()
    open("interrupted", "w").close()
else:
    wait_for_file("interrupted")
    os.write(master, b"still\\n")
    until(b"still")
    interrupt()
said.append(ask("echo $?"))
"""


@repeated
@needs("bash", "dash")
@pytest.mark.parametrize("shell", OPTIONS)
def test_a_shell_in_a_terminal(tree: Any, shell: str, repeat: int) -> None:
    """It has its controlling terminal, and Ctrl-C ends the command in the foreground."""
    said = in_a_shell(tree, shell, "", CTRL_C)
    assert said == [f"{vmid} ['42', '20', '50', True, '130'] 7" for vmid in range(3)]


# It goes on, but its session in a clone is not that of the shell.
JOB_OF_BEFORE = """exec 2> /dev/null
trap ': < /dev/tty && echo has it || echo has none; exit 3' USR1
: > ready
while :; do sleep 0.05; done
"""
BEFORE = """
ask("bash job & job=$!")
wait_for_file("ready")
checked = subprocess.run(["gc", "check", str(os.getpid())], stdout=subprocess.PIPE, text=True).stdout
"""
# The job that is begun in the clone is in the background first, and stopped when it reads.
JOBS = """
said.append("(bash): its controlling terminal is made anew in clones, where only the leader" in checked)
said.append("pseudo-terminal" in checked)
heard = ask("kill -USR1 $job; wait $job; echo status $?")
said += [words for words in ("has it", "has none", "status 3") if words in heard]
ask("cat & while ! jobs | grep -q Stopped; do sleep 0.02; done")
os.write(master, b"fg\\nrunning\\n")
until(b"running")
interrupt()
said.append(ask("echo $?; jobs"))
"""


@repeated
@needs("bash")
def test_jobs_of_before_have_no_controlling_terminal_and_new_ones_have(tree: Any, repeat: int) -> None:
    (tree.folder / "job").write_text(JOB_OF_BEFORE)
    has = ["has it", "has none", "has none"]
    said = in_a_shell(tree, "bash", BEFORE, JOBS)
    assert said == [f"{vmid} [True, False, '{has[vmid]}', 'status 3', '130'] 7" for vmid in range(3)]


PACKETS = """
import fcntl, os, pty, struct, subprocess, sys, termios, time

pid, master = pty.fork()
if pid == 0: time.sleep(300)
fcntl.ioctl(master, termios.TIOCPKT, struct.pack("i", 1))
ticket = subprocess.check_output(["gc", "rt", "1", "1", "1", "5000"], text=True).split()[1]
print(subprocess.run(["gc", "clone", ticket], stderr=subprocess.PIPE, text=True).stderr, end="")
os.kill(pid, 9)
"""


def test_packet_mode_is_refused(tree: Any) -> None:
    (tree.folder / "packets.py").write_text(PACKETS)
    (said,) = tree.lines(sys.executable, "packets.py")
    assert "is in packet mode or has a line discipline of its own" in said, said
