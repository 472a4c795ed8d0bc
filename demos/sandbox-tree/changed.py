"""What has changed between two folders, as `gc diff --json` says it: for a session in a VM, whose files are a copy.

changed.py BEFORE NOW"""

import json
import sys
from pathlib import Path


def files(folder):
    return {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}


now = Path(sys.argv[2])
old, new = files(Path(sys.argv[1])), files(now)
changes = []
for name in sorted({*old, *new}):
    if name not in old:
        changes.append(("A", name))
    elif name not in new:
        changes.append(("D", name))
    elif old[name].read_bytes() != new[name].read_bytes():
        changes.append(("C", name))
print(json.dumps([{"kind": kind, "path": str(now / name)} for kind, name in changes]))
