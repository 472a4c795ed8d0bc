"""Computers on one: network namespaces joined by cables, with a Ray node in each. All of it is gone with close()."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gridcentric.hypervisors.qemu import leftovers

PORT = 6399
PUBLISHED = 1081  # a port of the first computer that leads to port 81 of a family's master
HANG_GUARD_S = 240
BIN = Path(sys.executable).parent
PROGRAMS = Path(__file__).parent / "programs"
HOLD = "import os, time; print(flush=True); os.read(0, 1)"


def what_is_missing() -> str:
    """Why there can be no cluster here, or nothing."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return "needs Ray: pip install 'gridcentric[ray]'"
    if os.geteuid() != 0:
        return "needs root, for network namespaces that reach one another"
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "needs ip and nsenter: apt-get install iproute2 util-linux"
    from gridcentric.hypervisors.qemu import images

    try:
        images.ensure(images.DEFAULT, lambda text: print(text, file=sys.stderr))  # here: the computers reach no registry
    except images.ImageError as error:
        return f"no image can be built here: {error}"
    return ""


def sh(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


class Computer:
    def __init__(self, number: int, folder: Path) -> None:
        self.ip = f"10.99.0.{number}"
        self.folder = folder / str(number)
        self.folder.mkdir(mode=0o700)
        # The namespace lives as long as this process, and has no name that could be left.
        self.holder = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.holder.stdout is not None
        self.holder.stdout.readline()
        self.run("ip", "link", "set", "lo", "up")

    def inside(self, *words: object) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *map(str, words)]

    def run(self, *words: object) -> str:
        return sh(*self.inside(*words))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in its network, and so are the threads that it starts meanwhile, for as long as they live."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as here, open(f"/proc/{self.holder.pid}/ns/net") as there:  # noqa: PTH123
            for network in (there, here):
                if libc.setns(network.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                if network is there:
                    yield

    def start_ray(self, *options: str) -> None:
        # Else Ray's workers, and the VMs with them, come after all that runs beside the tests.
        self.run(
            "env", "RAY_USAGE_STATS_ENABLED=0", "RAY_worker_niceness=0",
            BIN / "ray", "start", f"--node-ip-address={self.ip}", "--num-cpus=8", "--memory=4000000000",
            "--object-store-memory=400000000", "--disable-usage-stats", f"--temp-dir={self.folder}", *options,
        )  # fmt: skip

    def processes(self, word: str = "") -> list[int]:
        """Those in its network, but for the one that holds it; word: of their command lines."""
        here = os.readlink(f"/proc/{self.holder.pid}/ns/net")  # noqa: PTH115
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                inside = entry.name.isdigit() and os.readlink(entry / "ns/net") == here  # noqa: PTH115
                if inside and int(entry.name) != self.holder.pid and word in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """All of it at once, as when its power fails."""
        while processes := self.processes():
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def close(self) -> None:
        self.kill()
        self.holder.communicate(b"\n")


class Cluster:
    def __init__(self, many: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gcr-", dir="/tmp"))  # a short path: Ray has sockets below it
        self.computers = [Computer(number + 1, self.folder) for number in range(many)]
        try:
            one, *others = self.computers
            one.run("ip", "link", "add", "cable", "type", "bridge")
            for other in others:
                to = f"to-{other.ip[-1]}"
                one.run("ip", "link", "add", to, "type", "veth", "peer", "name", "cable", "netns", other.holder.pid)
                one.run("ip", "link", "set", to, "master", "cable", "up")
            for computer in self.computers:
                computer.run("ip", "addr", "add", f"{computer.ip}/24", "dev", "cable")
                computer.run("ip", "link", "set", "cable", "up")
            one.start_ray("--head", f"--port={PORT}", "--include-dashboard=false")
            for other in others:
                self.join(other)
        except BaseException:
            self.close()
            raise

    def join(self, computer: Computer) -> None:
        computer.start_ray(f"--address={self.computers[0].ip}:{PORT}")

    def gc(self, *words: object, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.computers[0].inside("env", f"RAY_TMPDIR={self.computers[0].folder}", BIN / "gc", *words),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def machines(self) -> list[int]:
        return [pid for computer in self.computers for pid in computer.processes("qemu-system")]

    def free(self) -> dict[str, float]:
        """What Ray has to give, CPUs by computer."""
        script = (
            "import json, ray; ray.init(address='{0}:{1}', _node_ip_address='{0}', log_to_driver=False, logging_level='error');"
            "free = ray._private.state.available_resources_per_node();"
            "print(json.dumps({{n['NodeManagerAddress']: free.get(n['NodeID'], {{}}).get('CPU', 0)"
            " for n in ray.nodes() if n['Alive']}}))"
        ).format(self.computers[0].ip, PORT)
        said = self.computers[0].run(sys.executable, "-c", script)
        # Ray writes its warnings there too, at any time.
        (last,) = [line for line in said.splitlines() if line.startswith("{")][-1:]
        found: dict[str, float] = json.loads(last)
        return found

    def until_free(self) -> None:
        """Wait until nobody holds a CPU of any computer."""
        limit = time.monotonic() + HANG_GUARD_S
        wanted = {computer.ip: 8 for computer in self.computers}
        while (free := self.free()) != wanted:
            assert time.monotonic() < limit, f"{free}, not {wanted}"

    def close(self) -> None:
        for computer in self.computers:
            computer.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        # A killed computer's actor leaves its folder; the next one there removes it, and these computers share one /tmp.
        leftovers.remove_hosts()


class Family:
    """A program that `gc run` has started."""

    def __init__(self, cluster: Cluster, program: str, *arguments: object) -> None:
        """program: of the folder programs."""
        self._cluster = cluster
        self.process = cluster.gc(
            "run", "--hypervisor", "ray", "--address", f"{cluster.computers[0].ip}:{PORT}", "--place", "spread",
            "--memory", "192M", "--publish", f"{PUBLISHED}:81", "--copy", f"{PROGRAMS / program}:/root/{program}",
            "--", "python3", f"/root/{program}", *arguments,
        )  # fmt: skip

    def hears(self, name: str) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it has ended ({self.process.wait(HANG_GUARD_S)}) and not said {name!r}"
        said, value = json.loads(line)
        assert said == name, line
        return value

    def ends(self) -> None:
        assert self.process.wait(HANG_GUARD_S) == 0
        assert self._cluster.machines() == []
