"""Versions of the languages other than the checkout's."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import nox

from sessions.building import BUILD, ROOT, VENV, environment, run


def pythons_here() -> Iterable[tuple[str, str]]:
    """Each version that pyproject.toml declares, with its Python on PATH or from pyenv, or "" if there is none."""
    for version in re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()):
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        for python in [shutil.which(f"python{version}"), *map(str, pyenv)]:
            about = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"
            asked = subprocess.run([python or "false", "-c", about], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and asked.stdout.startswith(f"{version} "):
                yield version, asked.stdout.split(maxsplit=1)[1].strip()  # the Python behind a shim
                break
        else:
            yield version, ""


@nox.session
def pythons(session: nox.Session) -> None:
    """Builds, installs and tests the package with every other supported Python installed here: minutes each."""
    others = [python for version, python in pythons_here() if python and not (VENV / "lib" / f"python{version}").exists()]
    for python in others:
        folder = BUILD / "pythons" / Path(python).resolve().name
        session.log(f"{python} in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        run(session, python, "-m", "venv", str(folder))
        env = environment() | {"VIRTUAL_ENV": str(folder)}
        env.pop("CXX", None)  # as in make_python()
        own = str(folder / "bin" / "python")
        session.run(own, "-m", "pip", "install", "--quiet", ".[autoscale]", "pytest", "pytest-timeout", env=env, external=True)
        own_only = ["packaging", "types", "live_clone_libraries"]  # need packages that only the .venv has
        ignored = [f"--ignore=tests/python/test_{name}.py" for name in own_only]
        session.run(own, "-m", "pytest", "-q", "--timeout=300", "tests/python", *ignored, env=env, external=True)
