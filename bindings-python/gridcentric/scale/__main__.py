"""`gc scale`: python -m gridcentric.scale, with the words after `gc scale`. Start reading at service.py."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from gridcentric import NotSupported
from gridcentric._advice import install

USAGE_EXIT = 2


def main(arguments: Optional[Sequence[str]] = None) -> int:
    try:
        from gridcentric.scale import command_line
        from gridcentric.scale.service import Service, say
        from gridcentric.scale.settings import Wrong
        from gridcentric.scale.source import Source
    except ImportError as error:
        if error.name not in (None, "tomli"):  # None: gridcentric.autoscale has said what is missing
            raise
        lacking = f"needs tomli, which is not installed: {install('autoscale')}" if error.name else str(error)
        print(f"gc scale: {lacking}", file=sys.stderr)
        return int(NotSupported("").exit_code)
    try:
        file, given = command_line.read(sys.argv[1:] if arguments is None else arguments)
        source = Source(Path(file) if file else None, given)
        service = Service(source, source.read())
    except Wrong as error:
        say(str(error))
        return USAGE_EXIT
    return asyncio.run(service.run())


if __name__ == "__main__":
    sys.exit(main())
