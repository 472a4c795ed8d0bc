"""How this computer reaches the registries of Debian, PyPI and npm, asked of its own tools when it is needed.

It is never written into the repository: mirrors, proxies and certificates are of the computer that runs the tests.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

_NAMES = re.compile(r"(?i).*_proxy|SSL_CERT_.*|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GIT_SSL_CAINFO|PIP_.*")


def _asked(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def apt_options() -> str:
    """What apt is told here about reaching its servers, as text for apt.conf."""
    names = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::Languages")
    lines = _asked("apt-config", "dump").splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith(names))


def apt_sources(suite: str) -> list[str]:
    """The lines of sources.list for a suite, from the mirror that this computer uses. None: mmdebstrap knows one itself."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.[ls][io][su]*"))]
    text = "\n".join(file.read_text() for file in files if file.suffix in (".list", ".sources") and file.exists())
    mirrors = [url for line in text.splitlines() if not line.startswith("#") for url in re.findall(r"https?://\S+", line)]
    debian = next((url for url in mirrors if url.rstrip("/").endswith("/debian")), None)
    security = next((url for url in mirrors if url.rstrip("/").endswith("debian-security")), None)
    if not debian:
        return []
    lines = [f"deb {debian} {suite} main"]
    if suite not in ("sid", "unstable"):
        lines += [f"deb {debian} {suite}-updates main"]
        lines += [f"deb {security} {suite}-security main"] if security else []
    return lines


@functools.cache
def environment() -> dict[str, str]:
    """Variables that lead pip and npm to their registries. Paths of this computer's own folders are left out."""
    found = {name: value for name, value in os.environ.items() if _NAMES.fullmatch(name)}
    found = {name: value for name, value in found.items() if not value.startswith("/") or value.startswith("/etc/ssl/")}
    if index := _asked("pip", "config", "get", "global.index-url"):
        found.setdefault("PIP_INDEX_URL", index)
    if registry := _asked("npm", "config", "get", "registry"):
        found.setdefault("npm_config_registry", registry)
    return found


def certificates() -> Iterable[Path]:
    """Certificates that were added to Debian's own."""
    return Path("/usr/local/share/ca-certificates").rglob("*.crt")
