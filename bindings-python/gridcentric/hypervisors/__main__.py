"""What gc becomes for a hypervisor that is written in Python: `python -m gridcentric.hypervisors NAME run|host|image ...`.

Which ones there are say the entry points of the group `gridcentric.hypervisors`: the name is the hypervisor's, the object a
function that is given the words after the name and returns an exit code. `gc` in place of a name goes to all of them: each
removes what killed hosts have left and says what that was. `has NAME` says by its exit code whether there is one of that name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

GROUP = "gridcentric.hypervisors"


def registered() -> dict[str, Callable[[], Callable[[Sequence[str]], int]]]:
    """By name, what loads each one's command line."""
    found: Any = metadata.entry_points()
    points = found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, [])  # before Python 3.10 a dict
    return {point.name: point.load for point in points}


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = registered()
    name = words.pop(0) if words else ""
    if name == "gc":
        return max((load()(["gc"]) for _, load in sorted(commands.items())), default=0)
    if name == "has":
        return int(words[0] not in commands)
    if name not in commands:
        print(f"gc: no hypervisor '{name}' is installed, expected {' or '.join(sorted(commands)) or 'none'}", file=sys.stderr)
        return 2
    return commands[name]()(words)


if __name__ == "__main__":
    sys.exit(main())
