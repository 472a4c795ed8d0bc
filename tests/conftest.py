"""A host to test against: gc host or the reference host, each with the fake hypervisor and the control channel.

`host` runs a test once with each of them. A guest is a process of its own (`host.start_guest`): the library attaches once
in a process.

GC_NODE=/path/to/node chooses the Node under test: every test that starts `node` finds that one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 120


def put_node_on_path(node: str) -> None:
    """As a separate folder: what lies beside that program must not come along."""
    folder = tempfile.TemporaryDirectory(prefix="gc-node-")
    Path(folder.name, "node").symlink_to(Path(node).resolve(strict=True))
    os.environ["PATH"] = f"{folder.name}:{os.environ['PATH']}"
    atexit.register(folder.cleanup)


if os.environ.get("GC_NODE"):
    put_node_on_path(os.environ["GC_NODE"])

# Runs a function of a test module in a separate process and prints what it returns.
GUEST = """
import importlib.util, json, sys
path, name, arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location("guest_program", path)
module = importlib.util.module_from_spec(spec)
sys.modules["guest_program"] = module
spec.loader.exec_module(module)
print(json.dumps(getattr(module, name)(*json.loads(arguments))))
"""


class Guest:
    """A function of a test module that runs in a separate process."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
        file = sys.modules[function.__module__].__file__
        assert file is not None
        self.process = subprocess.Popen(
            [sys.executable, "-c", GUEST, file, function.__name__, json.dumps(arguments)],
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> tuple[int, str, str]:
        """Its exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=HANG_GUARD_S)
        return self.process.returncode, out, err

    def result(self) -> Any:
        """What the function returned; the test fails with its standard error when it did not."""
        code, out, err = self.finish()
        assert code == 0, f"the guest ended with {code}\n{err}"
        assert not err, err
        return json.loads(out.splitlines()[-1])


class Host:
    """A host with a control channel."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [*command, "--control", "--seed", "1", "--socket", str(folder / "host.sock")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("listening on unix:"), f"{command} said {line!r}"
        self.address = line.split()[-1]
        self._guests: list[Guest] = []
        self._control = Control(self.address)

    def control(self, verb: str, *arguments: object) -> list[list[str]]:
        """A verb of docs/protocol.md, Control: the fields of its items, those of its `ok` last."""
        return self._control.ask(verb, *arguments)

    def open_calls(self) -> list[str]:
        return [fields[3] for fields in self.control("dump")[:-1] if fields[0] == "call"]

    def start_guest(self, function: Callable[..., Any], *arguments: Any, attach: Optional[str] = None) -> Guest:
        """function(*arguments) in a guest of this host; attach: FAMILY/VMID of the domain to act as."""
        environment = {"GRIDCENTRIC_HOST": self.address}
        if attach is not None:
            environment["GRIDCENTRIC_ATTACH"] = attach
        guest = Guest(function, arguments, environment)
        self._guests.append(guest)
        return guest

    def run_guest(self, function: Callable[..., Any], *arguments: Any, attach: Optional[str] = None) -> Any:
        return self.start_guest(function, *arguments, attach=attach).result()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        for guest in self._guests:
            guest.process.kill()
            guest.process.communicate()
        self._control.close()
        self._process.terminate()
        self._process.communicate(timeout=HANG_GUARD_S)


class Control:
    """The control channel of a host, also from inside a guest's process."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address.partition(":")[2])
        self._lines = self._socket.makefile("rw", newline="\n")
        self._say("gridcentric/1 control")
        assert self._lines.readline().startswith("gridcentric/1 ok ")

    def _say(self, line: str) -> None:
        self._lines.write(line + "\n")
        self._lines.flush()

    def ask(self, verb: str, *arguments: object) -> list[list[str]]:
        self._say(" ".join(["1", verb, *map(str, arguments)]))
        items = []
        while True:
            _, kind, *fields = self._lines.readline().rstrip("\n").split(" ")
            assert kind in ("item", "ok"), f"{verb}: {fields}"
            items.append(fields)
            if kind == "ok":
                return items

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._lines.close()
        self._socket.close()


def _hosts() -> dict[str, list[str]]:
    from gridcentric import _paths

    return {
        "gc": [str(_paths.GC), "host", "--hypervisor", "fake"],
        "reference": [sys.executable, "-m", "gridcentric.reference"],
    }


@pytest.fixture(params=["gc", "reference"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    started = Host(_hosts()[request.param], tmp_path)
    yield started
    started.close()
