"""Linters and formatters."""

from __future__ import annotations

import nox

from sessions.building import BUILD, PYTHON, ROOT, VENV, files_of, needs, run

SCRIPTS = ["scripts/check-sizes", "scripts/check-words"]
PYTHON_SOURCES = ["noxfile.py", "scripts", *SCRIPTS, "bindings-python", "bindings-java", "tests", "demos", "demos/start",
                  "scripts/film-demo", "bench"]  # fmt: skip
CPP_FOLDERS = ["core", "bindings-python/src", "bindings-node/src", "bindings-java/src", "tests/core", "tests/live_clone"]


def cpp_sources() -> list[str]:
    endings = {".c", ".cpp", ".h", ".hpp"}
    return sorted(str(p.relative_to(ROOT)) for p in files_of(CPP_FOLDERS) if p.suffix in endings)


@nox.session
def lint(session: nox.Session) -> None:
    """Words, sizes, ruff, mypy --strict, clang-format, eslint, tsc."""
    needs(session, "dev", "python", "node")
    for script in SCRIPTS:
        run(session, PYTHON, script)
    run(session, PYTHON, "bindings-java/errors.py", "--check")
    run(session, PYTHON, "-m", "ruff", "check", *PYTHON_SOURCES)
    run(session, PYTHON, "-m", "ruff", "format", "--check", *PYTHON_SOURCES)
    run(session, PYTHON, "-m", "mypy", "--strict", "-p", "gridcentric")
    run(session, str(VENV / "bin" / "clang-format"), "--dry-run", "--Werror", *cpp_sources())
    run(session, "npm", "run", "--silent", "lint")


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy over the core: minutes, so `make lint` runs it and `make test` does not."""
    folder = str(BUILD / "tidy")
    run(session, "cmake", "-G", "Ninja", "-S", ".", "-B", folder, "-DGC_UNITY=OFF", "-DCMAKE_CXX_COMPILER=clang++")
    sources = [s for s in cpp_sources() if s.startswith("core/") and s.endswith(".cpp")]
    run(session, "run-clang-tidy", "-quiet", "-p", folder, *sources)


@nox.session
def format(session: nox.Session) -> None:
    """Let the formatters rewrite the sources."""
    needs(session, "dev")
    run(session, PYTHON, "-m", "ruff", "check", "--fix", *PYTHON_SOURCES)
    run(session, PYTHON, "-m", "ruff", "format", *PYTHON_SOURCES)
    run(session, str(VENV / "bin" / "clang-format"), "-i", *cpp_sources())
