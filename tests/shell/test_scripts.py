"""Shell scripts of 2010 under `gc run`: they clone themselves with `gc clone`, and in a clone the command comes back with the
clone's own output and status. GC_REPEAT=N plays each N times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from runner.hosts import gc_binary

REPEAT = range(int(os.environ.get("GC_REPEAT", "1")))
CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
HANG_GUARD_S = 120
NOBODY = 65534


def shells() -> Iterable[object]:
    for shell in ("bash", "dash", "zsh"):
        missing = [] if shutil.which(shell) else [pytest.mark.skip(reason=f"not tried: {shell} is missing")]
        for mode in ("pidns", "plain"):
            yield pytest.param(shell, mode, id=f"{shell}-{mode}", marks=missing)


in_each_shell = pytest.mark.parametrize(("shell", "mode"), list(shells()))


def run(shell: str, mode: str, script: str, folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """The script as a file, as a user would start it. `before`: a command that starts gc."""
    file = folder / "script"
    file.write_text(script)
    folder.chmod(0o755)
    command = [*before, gc_binary(), "run", "--", shell, str(file)]
    env = CALM | {"GRIDCENTRIC_CLONE_MODE": mode}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=HANG_GUARD_S, cwd=folder)


def lines(shell: str, mode: str, script: str, folder: Path, *before: str) -> list[str]:
    """What all domains have written, sorted: they do so at the same time."""
    said = run(shell, mode, script, folder, *before)
    assert (said.returncode, said.stderr) == (0, ""), said
    return sorted(said.stdout.splitlines())


AS_PRINTED = """
ticket=$(gc rt 2 2 1 1000 | awk '{print $2}')
gc clone $ticket
if gc ismaster; then
  echo "I am the master"
  gc sync $ticket
  gc wait $ticket
else
  echo "I am clone `gc vmid`"
  gc sync
  gc join --report "report of $(gc vmid)"
  echo "a clone that has joined goes on"
fi
"""


@pytest.mark.parametrize("repeat", REPEAT)
@in_each_shell
def test_as_it_was_printed(shell: str, mode: str, repeat: int, tmp_path: Path) -> None:
    assert lines(shell, mode, AS_PRINTED, tmp_path) == [
        "0", "1", "2", "I am clone 1", "I am clone 2", "I am the master",
        "result 1 joined 0 text report of 1", "result 2 joined 0 text report of 2",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("repeat", REPEAT)
@in_each_shell
def test_as_an_ordinary_user(shell: str, mode: str, repeat: int) -> None:
    other = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*other, gc_binary(), "--version"], capture_output=True, check=False).returncode:
        pytest.skip("not tried: another user cannot read this gc")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for root alone
        assert len(lines(shell, mode, AS_PRINTED, Path(folder), *other)) == 8


@in_each_shell
def test_output_and_status_in_command_substitution(shell: str, mode: str, tmp_path: Path) -> None:
    script = """
set -e
ticket=$(gc rt 3 3 1 1000 | awk '{print $2}')
vmid=$(gc clone $ticket)
echo "$vmid is $(gc vmid)"
[ $vmid = 0 ] || gc join noreport
gc wait $ticket > /dev/null
"""
    assert lines(shell, mode, script, tmp_path) == ["0 is 0", "1 is 1", "2 is 2", "3 is 3"]


@in_each_shell
def test_state_of_the_script(shell: str, mode: str, tmp_path: Path) -> None:
    """Variables, functions, loops, traps, here-documents and redirected output are each domain's own from then on."""
    script = f"""
say() {{ echo "$1 $n"; }}
trap 'say "trap of $(gc vmid)"' USR1
n=1
ticket=$(gc rt 1 1 1 1000)
for turn in one two three; do
  if [ $turn = two ]; then gc clone $ticket > /dev/null; fi
  n=$((n + 1))
done
gc ismaster || n=$((n * 10))
kill -USR1 $$
cat <<EOF
here $n
EOF
exec > "{tmp_path}/out.$(gc vmid)"
say redirected
gc ismaster && gc wait $ticket > /dev/null || gc join noreport
"""
    if mode == "plain":
        script = script.replace("kill -USR1 $$", 'say "trap of $(gc vmid)"')  # $$ is the master's pid there
    assert lines(shell, mode, script, tmp_path) == ["here 4", "here 40", "trap of 0 4", "trap of 1 40"]
    assert [(tmp_path / f"out.{vmid}").read_text() for vmid in (0, 1)] == ["redirected 4\n", "redirected 40\n"]


@in_each_shell
def test_a_clone_clones(shell: str, mode: str, tmp_path: Path) -> None:
    script = """
first=$(gc rt 1 1 1 1000 | awk '{print $2}')
a=$(gc clone $first)
if [ $a = 1 ]; then
  second=$(gc rt 2 2 1 1000 | awk '{print $2}')
  b=$(gc clone $second)
  echo "$a $b"
  [ $b = 0 ] || gc join noreport
  gc wait $second > /dev/null
  gc join noreport
fi
gc wait $first > /dev/null
echo end
"""
    assert lines(shell, mode, script, tmp_path) == ["1 0", "1 2", "1 3", "end"]


@in_each_shell
def test_children_of_before_have_ended_and_later_ones_are_its_own(shell: str, mode: str, tmp_path: Path) -> None:
    script = """
sleep 0.2 & child=$!
ticket=$(gc rt 1 1 1 1000 | awk '{print $2}')
vmid=$(gc clone $ticket)
{wait_for_it}; inherited=$?
[ $inherited = 0 ] && inherited=well
sh -c 'exit 7' & wait $!; echo "$vmid $inherited $?"
[ $vmid = 0 ] || gc join noreport
gc wait $ticket > /dev/null
"""
    # zsh waits for a signal of a child that a clone does not have: there it would wait for ever.
    told = "wait $child" if shell != "zsh" else "[ $vmid = 0 ] && wait $child"
    said = lines(shell, mode, script.replace("{wait_for_it}", told), tmp_path)
    assert [line.split()[0] for line in said] == ["0", "1"]
    assert said[0].split()[1] == "well"
    assert said[1].split()[1] != "well"


@in_each_shell
def test_output_to_a_file(shell: str, mode: str, tmp_path: Path) -> None:
    script = "t=$(gc rt 2 2 1 1000)\ngc clone $t >> out\ngc ismaster && gc wait $t > /dev/null || gc join noreport\n"
    assert lines(shell, mode, script, tmp_path) == []
    assert sorted((tmp_path / "out").read_text().split()) == ["0", "1", "2"]


@in_each_shell
@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("(gc clone $ticket; exit $?)", "a subshell"),
        ("gc clone $ticket | cat", "a pipe to another process"),
        ("sh -c 'gc clone $0; exit $?' $ticket", "another program"),
    ],
)
def test_what_is_not_possible_is_said(shell: str, mode: str, command: str, text: str, tmp_path: Path) -> None:
    script = f"ticket=$(gc rt 1 1 1 1000 | awk '{{print $2}}')\n{command}\ngc ti $ticket | awk '{{print $3}}'\n"
    said = run(shell, mode, script, tmp_path)
    assert text in said.stderr
    assert "vmid=$(gc clone UUID)" in said.stderr
    assert said.stdout == "reserved\n"


@pytest.mark.parametrize(
    "between", ["subprocess.check_output(['sleep', '1'])", "compute(1)"], ids=["reads elsewhere", "computes"]
)
def test_a_pipeline_that_is_still_being_built(between: str, tmp_path: Path) -> None:
    """The script has the read end until it has started the process that reads from the pipe."""
    script = f"""
import os, subprocess, time

def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

ticket = subprocess.check_output(["gc", "rt", "1", "1", "1", "1000"], text=True).split()[1]
read_end, write_end = os.pipe()
asking = subprocess.Popen(["gc", "clone", ticket], stdout=write_end)
os.close(write_end)
{between}
reading = subprocess.Popen(["cat"], stdin=read_end)
os.close(read_end)
print(asking.wait(), reading.wait(), subprocess.check_output(["gc", "ti", ticket], text=True).split()[2])
"""
    said = run(sys.executable, "pidns", script, tmp_path)
    assert "a pipe to another process" in said.stderr
    assert said.stdout.split()[1:] == ["0", "reserved"]


def test_a_program_with_a_binding_is_told_to_clone_itself(tmp_path: Path) -> None:
    script = (
        "import subprocess\nfrom gridcentric import guest\nticket = guest.request_ticket(1, 1, 1, 0)\n"
        "said = subprocess.run(['gc', 'clone', ticket], capture_output=True, text=True)\n"
        "print(said.returncode != 0, 'call clone() in the program itself' in said.stderr, len(guest.list_domains()))\n"
    )
    assert run(sys.executable, "pidns", script, tmp_path).stdout == "True True 1\n"
