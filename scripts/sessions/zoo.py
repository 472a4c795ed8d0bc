"""The zoo: small programs that use common libraries, cloned in both modes (tests/zoo/README.md).

Their packages are installed into build/zoo, with pinned versions; gridcentric is that of the checkout.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import nox

from sessions.building import (
    BUILD,
    PYTHON,
    ROOT,
    SIDE_BY_SIDE,
    digest,
    environment,
    make_once,
    needs,
    node_under_test,
    pytest,
    run,
)  # fmt: skip
from sessions.zoo_servers import servers

ZOO = BUILD / "zoo"
# Each folder of build/zoo with the file that lists its packages; the full ones are only for `zoo`.
PYTHON_PACKAGES = {"python": "scripts/requirements-zoo.txt", "python-full": "scripts/requirements-zoo-full.txt"}
NODE_PACKAGES = {"node": "tests/zoo/node/package.json", "node-full": "tests/zoo/node/full/package.json"}


@nox.session
def zoo(session: nox.Session) -> None:
    """All programs of the zoo (-- pytest's arguments), including torch (several GB) and servers where they are installed."""
    install(session, "python", "python-full", "node", "node-full")
    with servers() as env:
        play(session, env)


@nox.session(name="zoo-ci")
def zoo_ci(session: nox.Session) -> None:
    """The programs of the zoo that are quick, and need no server but redis."""
    install(session, "python", "node")
    play(session, {}, "-m", "not full", *SIDE_BY_SIDE)


def play(session: nox.Session, env: dict[str, str], *options: str) -> None:
    python = ":".join(str(ZOO / folder) for folder in PYTHON_PACKAGES)
    node = ":".join(str(folder / "node_modules") for folder in (ZOO / "node", ZOO / "node-full", ROOT))
    env = {**env, "PYTHONPATH": python, "NODE_PATH": node}
    pytest(session, "tests/zoo", *options, env=env)
    tests = sorted(str(path) for path in (ROOT / "tests" / "zoo" / "node").glob("*.test.js"))
    if tests and not session.posargs:  # posargs are pytest's
        run(session, node_under_test(), "--test", "--test-timeout=1800000", *tests, env=env)


def install(session: nox.Session, *folders: str) -> None:
    """The folders that are out of date."""
    needs(session, "dev", "python", "node")
    for folder in folders:
        make_once(session, f"zoo-{folder}", state(folder), partial(with_pip if folder in PYTHON_PACKAGES else with_npm, folder))


def state(folder: str) -> str:
    """Python's later folder depends on the earlier one; what npm compiles fits only one version of Node."""
    if folder in PYTHON_PACKAGES:
        return digest(PYTHON_PACKAGES.values() if folder != "python" else [PYTHON_PACKAGES[folder]])
    version = subprocess.run([node_under_test(), "-p", "process.version"], capture_output=True, text=True, check=True).stdout
    return digest([NODE_PACKAGES[folder]]) + version


def with_pip(folder: str, session: nox.Session) -> None:
    shutil.rmtree(ZOO / folder, ignore_errors=True)
    # Packages in both folders have the version of the first.
    both = ["-c", PYTHON_PACKAGES["python"]] if folder != "python" else []
    wanted = ["-r", PYTHON_PACKAGES[folder], *both]
    run(session, PYTHON, "-m", "pip", "install", "--quiet", "--target", str(ZOO / folder), *wanted)


def with_npm(folder: str, session: nox.Session) -> None:
    shutil.rmtree(ZOO / folder, ignore_errors=True)
    (ZOO / folder).mkdir(parents=True)
    shutil.copy(ROOT / NODE_PACKAGES[folder], ZOO / folder)
    node = Path(shutil.which(node_under_test(), path=environment()["PATH"]) or "node").resolve()
    env = {"PATH": f"{node.parent}:{environment()['PATH']}"}
    if node == Path("/usr/bin/node") and Path("/usr/include/node/node_api.h").exists():
        env["npm_config_nodedir"] = "/usr"  # the headers of Debian's Node
    options = ["--no-audit", "--no-fund", "--no-save", "--loglevel=error"]
    run(session, "npm", "install", "--prefix", str(ZOO / folder), *options, env=env)
