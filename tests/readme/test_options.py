"""The options of docs/autoscale.md and of Node's types are those of autoscale/options.json.

To write the document's table anew: python FILE.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/autoscale.md"
TYPES = (ROOT / "bindings-node/autoscale.d.ts").read_text()
TABLE: dict[str, dict[str, Any]] = json.loads((ROOT / "autoscale/options.json").read_text())
HEAD = "| option | default | takes | meaning |"
OPTIONS = list(TABLE)[2:]  # the first two are the ports


def shown(value: Any) -> str:
    return f"`'{value}'`" if isinstance(value, str) else json.dumps(value)


def taken(what: Any) -> str:
    if isinstance(what, str):
        return f"`{what}`" if what[0] == "'" or what in ("true", "false") else what
    if "whole" in what:
        low, high = what["whole"]
        return f"{low} to {high}"
    key, _, text = what["record"]
    return f"`{{{key}: {text}}}`"


def table() -> str:
    lines = [HEAD, "|---|---|---|---|"]
    for name in OPTIONS:
        row = TABLE[name]
        default = shown(row["default"]) if "default" in row else row.get("usually", "")
        lines.append(f"| `{name}` | {default} | {', '.join(map(taken, row['takes']))} | {row['meaning']} |")
    return "\n".join(lines)


def written() -> str:
    """The document with the table as it should be."""
    text = DOCUMENT.read_text()
    start = text.index("| option | default |")
    return text[:start] + table() + text[text.index("\n\n", start) :]


def test_the_document_has_the_table() -> None:
    assert DOCUMENT.read_text() == written(), f"run: python {Path(__file__).relative_to(ROOT)}"


@pytest.mark.parametrize("name", OPTIONS)
def test_the_types_say_the_same(name: str) -> None:
    found = re.search(rf"/\*\*((?:(?!\*/).)*)\*/\s*{name}\?:(.*);", TYPES, re.DOTALL)
    assert found, f"autoscale.d.ts has no option {name}"
    comment, types = found[1], found[2].partition(";")[0]
    if "default" in TABLE[name]:
        assert f"default {shown(TABLE[name]['default']).strip('`')}" in comment
    for what in TABLE[name]["takes"]:
        if isinstance(what, str) and what.startswith("'"):
            assert what in types


if __name__ == "__main__":
    DOCUMENT.write_text(written())
