"""Where this installation has its header, library and gc. Knows only files: imports and starts nothing."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INCLUDE = PACKAGE / "include"
LIB = PACKAGE / "lib"
PKG_CONFIG = LIB / "pkgconfig"
GC = PACKAGE / "bin" / "gc"
DEMOS = PACKAGE / "demos"
