"""Other versions of the languages than those of the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import nox

from sessions.building import BUILD, ROOT, VENV, environment, run


def supported_pythons() -> Iterable[str]:
    """Each Python that pyproject.toml declares and that is here, on PATH or with pyenv, but for that of .venv."""
    declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    for version in declared:
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        for python in [shutil.which(f"python{version}"), *map(str, pyenv)]:
            about = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
            asked = subprocess.run([python or "false", "-c", about], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and not (VENV / "lib" / f"python{asked.stdout.strip()}").exists():
                yield str(python)
                break


@nox.session
def pythons(session: nox.Session) -> None:
    """The package built, installed and tested with every other supported Python that is here: minutes each."""
    for python in supported_pythons():
        folder = BUILD / "pythons" / Path(python).resolve().name
        session.log(f"{python} in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        run(session, python, "-m", "venv", str(folder))
        env = environment() | {"VIRTUAL_ENV": str(folder)}
        env.pop("CXX", None)  # as in make_python()
        own = str(folder / "bin" / "python")
        session.run(own, "-m", "pip", "install", "--quiet", ".[autoscale]", "pytest", "pytest-timeout", env=env, external=True)
        others = ["packaging", "types", "live_clone_libraries"]  # need what only the .venv has
        ignored = [f"--ignore=tests/python/test_{name}.py" for name in others]
        session.run(own, "-m", "pytest", "-q", "--timeout=300", "tests/python", *ignored, env=env, external=True)
