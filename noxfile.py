"""The actions of `make`, as nox sessions. Each works alone: it first installs what it needs (nox -s NAME).

The sessions are in scripts/sessions/: building.py has what they share, each other file has one kind of session.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

from sessions import fresh, java, kernels, lanes, languages, matrix, packages, quality, suites, vms, zoo

# A shell that starts us in the background ignores SIGINT, and every program below us would inherit that, but tests send
# SIGINT to programs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# SIGTERM also ends what a session runs, as Ctrl-C does: without this pytest and all that it started would keep running.
signal.signal(signal.SIGTERM, signal.default_int_handler)

nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["build", "others"]

__all__ = ["fresh", "java", "kernels", "lanes", "languages", "matrix", "packages", "quality", "suites", "vms", "zoo"]
