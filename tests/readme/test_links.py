"""Every link leads somewhere: in the checkout to a file and a heading, on a package index to nothing that is not there."""

import re
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMES = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def text_of(path: Path) -> str:
    """What is not code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.S | re.M)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", [name for name in NAMES if (ROOT / name).exists()])
def test_links_of_the_checkout(name: str) -> None:
    for link in LINK.findall(text_of(ROOT / name)):
        if re.match(r"https?:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (ROOT / name).parent / target if target else ROOT / name
        assert file.exists(), f"{name} links to {link}"
        assert not anchor or anchor in anchors(file), f"{name} links to {link}, which has no such heading"


def test_the_readme_of_the_python_package_has_no_link_into_the_checkout() -> None:
    readme = metadata("gridcentric").get_payload()  # as an index shows it, of the package that is installed
    assert isinstance(readme, str)
    links = LINK.findall(re.sub(r"^```.*?^```|`[^`\n]*`", "", readme, flags=re.S | re.M))
    assert all(re.match(r"https?:|#", link) for link in links), links
    assert "docs/semantics.md" in readme


def test_the_readme_of_the_node_package_has_no_link_into_the_checkout() -> None:
    links = LINK.findall(text_of(ROOT / "bindings-node" / "README.md"))
    assert all(re.match(r"https?:|#", link) for link in links), links


PLACES = re.compile(r"`((?:core|autoscale|bindings-(?:java|node|python)|demos|scripts|tests|docs|bench)/[\w./{},-]*)`")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/contracts.md", "docs/design.md"])
def test_the_places_that_a_document_names_are_there(name: str) -> None:
    for place in PLACES.findall((ROOT / name).read_text()):
        head, brace, rest = place.partition("{")
        inner, _, tail = rest.partition("}")
        for one in inner.split(",") if brace else [""]:
            assert (ROOT / f"{head}{one}{tail}").exists(), f"{name} names {place}"
