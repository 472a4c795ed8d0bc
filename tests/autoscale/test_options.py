"""Both languages check the options against one table, with the same errors."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gridcentric.autoscale.options import read_options

NODE = """
const { readOptions } = require(process.argv[1]);
const said = JSON.parse(process.argv[2]).map((options) => {
  try {
    readOptions(8080, 8081, options);
    return 'taken';
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
});
console.log(JSON.stringify(said));
"""
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "node_modules/gridcentric/lib/autoscale/options.js"
TABLE: dict[str, dict[str, Any]] = json.loads((ROOT / "autoscale/options.json").read_text())


def edges(takes: list[Any]) -> list[Any]:
    """Values at the limits of what an option takes, inside and outside."""
    found: list[Any] = [True, False, "", "none", -1, 0.5, [], {}]
    found += [{"header": ""}, {"header": "a"}, {"token": "x" * 15}, {"token": "x" * 16}]
    for what in takes:
        if isinstance(what, str):
            found.append(what.strip("'"))
        elif "whole" in what:
            low, high = what["whole"]
            found += [low - 1, low, high, high + 1]
    return found


CASES = [(name, value) for name, row in TABLE.items() for value in edges(row["takes"])]


def in_node() -> list[str]:
    options = json.dumps([{name: value} for name, value in CASES])
    run = subprocess.run(["node", "-e", NODE, str(PACKAGE), options], stdout=subprocess.PIPE, check=True)
    said: list[str] = json.loads(run.stdout)
    return said


def in_python(name: str, value: Any) -> str:
    given: dict[str, Any] = {"listen_port": 8080, "app_port": 8081, _python(name): value}
    try:
        read_options(given.pop("listen_port"), given.pop("app_port"), given)
    except ValueError as error:
        return f"TypeError: {error}"
    return "taken"


def _python(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def alike(said: str, name: str) -> str:
    """The text without each language's own notation of names and values."""
    said = said.replace(_python(name), name).replace("listen_port", "listenPort").replace("app_port", "appPort")
    said = said.replace("min_clones", "minClones").replace("max_clones", "maxClones")
    said = said.replace("True", "true").replace("False", "false")
    said = re.sub(r"\{ ?'?(\w+)'?: ([^}]*?) ?\}", r"{\1: \2}", said)
    return re.sub(r" is .*, expected", " is VALUE, expected", said)


def test_both_languages_take_and_refuse_the_same() -> None:
    for (name, value), node in zip(CASES, in_node()):
        python = in_python(name, value)
        assert alike(node, name) == alike(python, name), (name, value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"drain": True}, "drain is True, expected a whole number from 0 to 2147483647 or False"),
        ({"strategy": "newest"}, "strategy is 'newest', expected 'latest', 'round-robin', 'least-loaded', 'random' or"),
        ({"dashboard": {"token": "short"}},
         "dashboard is {'token': 'short'}, expected True, False, {'token': TEXT of at least 16 characters} or a function"),
        ({"host": 1}, "host is 1, expected an address to listen on"),
        ({"min_clones": 9, "max_clones": 3}, "min_clones (9) is above max_clones (3)"),
        ({"clones": 3}, "unknown option 'clones'; the options are users_per_clone, min_clones, "),
    ],
)  # fmt: skip
def test_what_was_wrong_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_options(8080, 8081, given)
    assert str(raised.value).startswith(f"autoscale: {said}")


def test_nothing_given_is_the_table() -> None:
    options = read_options(8080, 8081, {"host": None})
    for name, row in TABLE.items():
        if "default" in row:
            assert getattr(options, _python(name)) == row["default"]
