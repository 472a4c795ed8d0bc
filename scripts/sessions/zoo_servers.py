"""The servers that programs of the zoo connect to: Debian's, on 127.0.0.1, with their own data, for one session.

GC_ZOO_NAME=HOST:PORT tells a program where one is; GC_ZOO_MISSING_NAME names a package that is not installed. Knows no program.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

# A guard against hangs.
HANG_GUARD_S = 60


def program(name: str) -> str | None:
    """Finds a program on PATH, or where Debian keeps PostgreSQL's."""
    return shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Runs a server; starts the `with` block when it accepts connections."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until = time.monotonic() + HANG_GUARD_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command[0]} does not answer on port {port}:\n{log.read_text()}") from None
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def redis(folder: Path, port: int) -> list[str]:
    return [program("redis-server") or "", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]


def postgres(folder: Path, port: int) -> list[str]:
    """PostgreSQL refuses to run as root; then it runs as the user that Debian's package created."""
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if other:
        shutil.chown(folder, "postgres", "postgres")
    make = [program("initdb") or "", "--pgdata", str(folder / "data"), "--auth=trust", "--username=zoo", "--no-sync"]
    subprocess.run([*other, *make], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    settings = ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-p", str(port)]
    return [*other, program("postgres") or "", "-D", str(folder / "data"), *settings]


# Each server with its program and Debian package.
SERVERS = {"redis": (redis, "redis-server", "redis-server"), "postgres": (postgres, "initdb", "postgresql")}


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Starts all that are installed; yields the environment for the programs."""
    env = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gc-zoo-")))
        folder.chmod(0o755)  # PostgreSQL's user must be able to traverse it
        for name, (command, binary, package) in SERVERS.items():
            if not program(binary):
                env[f"GC_ZOO_MISSING_{name.upper()}"] = f"needs Debian's package {package}"
                continue
            data, port = folder / name, free_port()
            data.mkdir()
            stack.enter_context(running(command(data, port), port, folder / f"{name}.log"))
            env[f"GC_ZOO_{name.upper()}"] = f"127.0.0.1:{port}"
        yield env
