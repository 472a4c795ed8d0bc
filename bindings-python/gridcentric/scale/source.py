"""Where the settings come from: a file that may change, and the command line, which wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from gridcentric.scale.settings import Settings, read_file, read_settings


class Source:
    def __init__(self, file: Optional[Path], given: Mapping[str, Any]) -> None:
        self.file, self._given = file, given
        self._seen = self._look()

    def read(self) -> Settings:
        """Raises Wrong."""
        self._seen = self._look()
        return read_settings(read_file(self.file) if self.file else {}, self._given, str(self.file or ""))

    def has_changed(self) -> bool:
        """Whether the file is another one than when it was read last."""
        now = self._look()
        return now is not None and now != self._seen

    def _look(self) -> Optional[tuple[int, int, int]]:
        """None: there is no file, or an editor that replaces it has it away for a moment."""
        if self.file is None:
            return None
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
