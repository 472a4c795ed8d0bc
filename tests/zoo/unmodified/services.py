"""Servers that know nothing of gridcentric: how each is started, and how it is spoken with. Knows nothing of clones.

Each keeps notes in memory.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
Address = tuple[str, int]
HANG_GUARD_S = 60
MEGABYTE = 1 << 20


def ask(address: Address, path: str) -> str:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/{path}", timeout=HANG_GUARD_S) as answer:
        text: str = answer.read().decode()
        return text


def say(address: Address, *commands: bytes, until: bytes) -> bytes:
    """What is answered to these commands, up to and with the last line that ends with `until`."""
    with socket.create_connection(address, timeout=HANG_GUARD_S) as connection:
        for command in commands:
            connection.sendall(command)
        answer = b""
        while not answer.endswith(until):
            more = connection.recv(1 << 20)
            if not more:
                raise ConnectionError(f"{address} closed after {answer[-80:]!r}")
            answer += more
        return answer


# -- the command line of each, for a port


def perl(port: int, folder: Path) -> list[str]:
    return ["perl", str(FOLDER / "notes.pl"), str(port)]


def ruby(port: int, folder: Path) -> list[str]:
    return ["ruby", str(FOLDER / "notes.rb"), str(port)]


def node(port: int, folder: Path) -> list[str]:
    return ["node", str(FOLDER / "notes.js"), str(port)]


def php(port: int, folder: Path) -> list[str]:
    return ["php", "-S", f"127.0.0.1:{port}", str(FOLDER / "notes.php")]


def java(port: int, folder: Path) -> list[str]:
    return ["java", "-Xmx64m", str(FOLDER / "Notes.java"), str(port)]


def go(port: int, folder: Path) -> list[str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GOCACHE": str(folder / "cache"), "CGO_ENABLED": "1"}
    subprocess.run(["go", "build", "-o", "notes", str(FOLDER / "notes.go")], check=True, env=env, cwd=folder)
    return [str(folder / "notes"), str(port)]


def redis(port: int, folder: Path) -> list[str]:
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]


def memcached(port: int, folder: Path) -> list[str]:
    # One that changes its user is refused by the host of the user before.
    as_root = ["-u", "root"] if os.geteuid() == 0 else []
    return ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", *as_root]


def nginx(port: int, folder: Path) -> list[str]:
    """One process. What it remembers is how many requests it has answered."""
    settings = folder / "nginx.conf"
    settings.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ stub_status; }} }} }}\n"
    )
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(settings)]


# -- notes: `note` adds a word and returns all that have been noted there, `fill` puts in what clones inherit


def note_over_http(address: Address, word: str) -> list[str]:
    return ask(address, word).split()


def note_in_redis(address: Address, word: str) -> list[str]:
    say(address, f"RPUSH notes {word}\r\n".encode(), until=b"\r\n")
    return say(address, b"LRANGE notes 0 -1\r\nECHO end\r\n", until=b"end\r\n").decode().split()[2:-2:2]


def note_in_memcached(address: Address, word: str) -> list[str]:
    text = f"{word} "
    said = say(address, f"append notes 0 0 {len(text)}\r\n{text}\r\n".encode(), until=b"STORED\r\n")
    if said.startswith(b"NOT"):
        say(address, f"add notes 0 0 {len(text)}\r\n{text}\r\n".encode(), until=b"STORED\r\n")
    return say(address, b"get notes\r\n", until=b"END\r\n").decode().split("\r\n")[1].split()


def requests_of_nginx(address: Address, word: str) -> list[str]:
    """As many words as requests that it has answered: of those, only the last is known."""
    count = int(ask(address, word).splitlines()[2].split()[2])
    return ["request"] * (count - 1) + [word]


def fill_redis(address: Address) -> None:
    """100 MB."""
    value = os.urandom(MEGABYTE // 2).hex().encode()
    for number in range(100):
        command = b"*3\r\n$3\r\nSET\r\n$4\r\nk%03d\r\n$%d\r\n%b\r\n" % (number, len(value), value)
        say(address, command, until=b"+OK\r\n")


def check_redis(address: Address) -> None:
    size = say(address, b"DBSIZE\r\n", until=b"\r\n")
    assert size == b":101\r\n", size
    lengths = b"".join(say(address, b"STRLEN k%03d\r\n" % number, until=b"\r\n") for number in (0, 57, 99))
    assert lengths == b":%d\r\n" % MEGABYTE * 3, lengths


def nothing(address: Address) -> None:
    """It inherits its notes alone."""


@dataclass(frozen=True)
class Service:
    command: Callable[[int, Path], list[str]]
    program: str
    packages: tuple[str, ...]  # Debian's
    note: Callable[[Address, str], list[str]] = note_over_http
    fill: Callable[[Address], None] = nothing
    check: Callable[[Address], None] = nothing
    quick: bool = False  # played in CI too

    @property
    def missing(self) -> bool:
        return shutil.which(self.program) is None


SERVICES = {
    "perl": Service(perl, "perl", ("perl",), quick=True),
    "redis": Service(redis, "redis-server", ("redis-server",), note_in_redis, fill_redis, check_redis, quick=True),
    "memcached": Service(memcached, "memcached", ("memcached",), note_in_memcached),
    "nginx": Service(nginx, "nginx", ("nginx",), requests_of_nginx),
    "java": Service(java, "java", ("default-jdk-headless",)),
    "ruby": Service(ruby, "ruby", ("ruby",)),
    "node": Service(node, "node", ("nodejs",), quick=True),
    "php": Service(php, "php", ("php-cli", "php-sqlite3")),
    "go": Service(go, "go", ("golang-go", "gcc", "libc6-dev")),
}
