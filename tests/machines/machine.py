"""Runs commands in a Debian tree as if it were a separate computer, on this computer's kernel and network.

Like a container: namespaces of processes and mounts, a small /dev, an overlay that takes what is written. Unlike a
chroot, a user in it can make user namespaces. What is written is in memory, all mounts are in the machine's own namespace,
and its process 1 reads from a pipe whose other end we hold: nothing is left when the test ends, however it ends.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Optional, Union

from .configuration import environment
from .roots import MachineError

# As process 1 of the new namespaces: mounts all, goes in, says that it is ready and waits for the end of its input. It
# ignores SIGCHLD, so orphans are reaped by the kernel.
_BOOT = """
set -eu
lower=$1 devices=$2 over=$1/mnt
at=$over/merged
mount -t tmpfs -o size=75%,mode=755 over "$over"
mkdir "$over/upper" "$over/work" "$at"
mount -t overlay -o "lowerdir=$lower,upperdir=$over/upper,workdir=$over/work" machine "$at"
mount -t proc proc "$at/proc"
mount -t sysfs -o ro sysfs "$at/sys"
mount -t tmpfs -o mode=755 dev "$at/dev"
for name in $devices; do
  mkdir -p "$(dirname "$at/dev/$name")"
  : >"$at/dev/$name"
  mount --bind "/dev/$name" "$at/dev/$name"
done
mkdir "$at/dev/pts" "$at/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$at/dev/pts"
mount -t tmpfs -o mode=1777 shm "$at/dev/shm"
ln -s pts/ptmx "$at/dev/ptmx"
ln -s /proc/self/fd "$at/dev/fd"
ln -s fd/0 "$at/dev/stdin"
ln -s fd/1 "$at/dev/stdout"
ln -s fd/2 "$at/dev/stderr"
mkdir -p "$at/.outside"
cd "$at"
pivot_root . .outside
umount -l /.outside
echo ready
exec env --ignore-signal=CHLD cat
"""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
_ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SIGNALS = "INT,TERM,HUP,QUIT"


class CommandFailed(MachineError):
    def __init__(self, command: str, returncode: int, output: str) -> None:
        super().__init__(f"{command} ended with {returncode}:\n{output[-4000:]}")
        self.returncode, self.output = returncode, output


class Started:
    """A command that runs in a machine; signals reach all of its process group, as from a terminal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def poll(self) -> Optional[int]:
        return self._process.poll()

    def wait(self, timeout: Optional[float] = None) -> int:
        return self._process.wait(timeout)


class Machine:
    """A context: the machine runs in it, with what was written by one command there for the next.

    user: the name of an ordinary user to make, who runs the commands that don't say as_root.
    devices: names below /dev, besides those of every container, that it has (such as "net/tun").
    """

    def __init__(self, root: Path, *, user: Optional[str] = None, devices: tuple[str, ...] = ()) -> None:
        self.root, self.user, self.devices = root, user, devices
        self.home = f"/home/{user}" if user else "/root"

    def __enter__(self) -> Machine:
        try:
            self._boot()
            if self.user:
                self.run("useradd", "--create-home", "--shell", "/bin/bash", self.user, as_root=True)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _boot(self) -> None:
        arguments = [str(self.root), " ".join((*_DEVICES, *self.devices))]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _BOOT, "boot", *arguments]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._holder = subprocess.Popen(
            unshare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"ready\n":
            self._log.seek(0)
            raise MachineError(f"a machine of {self.root.name} did not start: {self._log.read().decode().strip()}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self._pid = children[0]

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        holder: Optional[subprocess.Popen[bytes]] = getattr(self, "_holder", None)
        if holder and holder.stdin and holder.stdout:
            holder.stdin.close()
            holder.wait()
            holder.stdout.close()
            self._log.close()

    def _command(self, command: tuple[str, ...], folder: Optional[str], env: Mapping[str, str], as_root: bool) -> list[str]:
        user = None if as_root else self.user
        home = f"/home/{user}" if user else "/root"
        variables = {
            "HOME": home, "USER": user or "root", "LANG": "C.UTF-8", "PATH": _PATH if user else _ROOT_PATH,
            **environment(), **env,
        }  # fmt: skip
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        # nsenter waits for the command and must outlive it; the command itself has signals as everybody has them.
        outside = ["sh", "-c", 'trap "" INT TERM HUP QUIT; exec nsenter "$@"', "sh", "-t", self._pid, "-m", "-p", "--"]
        inside = [*become, "env", "-i", f"--default-signal={_SIGNALS}", *(f"{k}={v}" for k, v in variables.items())]
        return [*outside, *inside, "sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", folder or home, *command]

    def start(
        self,
        *command: str,
        output: IO[bytes],
        folder: Optional[str] = None,
        env: Mapping[str, str] = {},
        as_root: bool = False,
    ) -> Started:
        """Start a command in a folder (the home if not said) and go on."""
        process = subprocess.Popen(
            self._command(command, folder, env, as_root),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return Started(process)

    def run(
        self,
        *command: str,
        folder: Optional[str] = None,
        env: Mapping[str, str] = {},
        as_root: bool = False,
        check: bool = True,
        timeout: Optional[float] = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its output, both streams, is in `stdout`. Raises CommandFailed."""
        with tempfile.TemporaryFile() as output:
            started = self.start(*command, output=output, folder=folder, env=env, as_root=as_root)
            try:
                code = started.wait(timeout)
            except BaseException:
                started.signal(signal.SIGKILL)
                started.wait()
                raise
            output.seek(0)
            text = output.read().decode(errors="replace")
        if check and code != 0:
            raise CommandFailed(shlex.join(command), code, text)
        return subprocess.CompletedProcess(command, code, text)

    def processes(self) -> list[str]:
        """What runs in it, by command line: neither its first process nor this look."""
        script = 'for p in /proc/[0-9]*; do echo "${p#/proc/} $(tr "\\0" " " <$p/cmdline)"; done 2>/dev/null; echo $$ myself'
        lines = self.run("sh", "-c", script, as_root=True).stdout.splitlines()
        own = {"1", lines.pop().split()[0]}
        found = [line.split(" ", 1) for line in lines]
        return [command for pid, command in found if command.strip() and pid not in own and script not in command]

    def put(self, source: Union[str, Path], target: str) -> None:
        """Copy a file or a folder of this computer into the machine, owned by its user."""
        inside = Path(f"/proc/{self._pid}/root{target}")
        if Path(source).is_dir():
            shutil.copytree(source, inside, symlinks=True)
        else:
            shutil.copy(source, inside)
        self._give(target)

    def get(self, source: str, folder: Path) -> None:
        """Copy a file of the machine into a folder of this computer."""
        shutil.copy(f"/proc/{self._pid}/root{source}", folder)

    def put_checkout(self, checkout: Path, target: str) -> None:
        """A git clone of what is committed."""
        with tempfile.TemporaryDirectory() as scratch:
            clone = str(Path(scratch) / "clone")
            subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(checkout), clone], check=True)
            self.put(clone, target)

    def _give(self, target: str) -> None:
        if self.user:
            self.run("chown", "-R", f"{self.user}:", target, as_root=True)
