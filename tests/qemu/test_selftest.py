"""gc selftest uniqueness in VMs: every row applies to them, and passes. That rows can fail: tests/hypervisors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gridcentric.selftest import rows


@pytest.mark.usefixtures("vms")
def test_vms_are_unique(gc: Any) -> None:
    done = gc("selftest", "uniqueness", "--hypervisor", "qemu", "--clones", "3", "--json")
    said = json.loads(done.stdout)
    assert [(row["name"], row["result"], row["detail"]) for row in said["rows"] if row["result"] != rows.PASSED] == []
    assert [row["name"] for row in said["rows"]] == [row.name for row in rows.ROWS]
    assert done.returncode == 0, done.stderr
