"""scripts/check-words finds phrases in comments, strings and Markdown, and nothing in code."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which looks at tmp_path."""
    loader = SourceFileLoader("check_words", str(ROOT / "scripts/check-words"))
    spec = spec_from_loader("check_words", loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "check-words"))
    return module


def found(words: ModuleType, name: str, text: str) -> list[str]:
    (words.ROOT / name).write_text(text)
    return [finding.partition(": write ")[0] for finding in words.findings(Path(name))]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.cpp", "int born;  // what is no file\n", "a.cpp:1: 'is no file'"),
        ("a.cpp", "// It has a socket of\n  // its own, so\n", "a.cpp:1: 'of its own'"),
        ("a.h", "/* First.\n * Who asks for it waits. */\n", "a.h:2: 'Who asks'"),
        ("a.cpp", 'fail("nobody can be heard on " + path);\n', "a.cpp:1: 'nobody can be heard'"),
        ("a.py", 'def f():\n    """For those.\n\n    For who calls."""\n', "a.py:4: 'For who calls'"),
        ("a.py", "x = f'KVM is not to be had: {error}'\n", "a.py:1: 'to be had'"),
        ("a.js", "const text = `so many ${things}`; // fine\n", "a.js:1: 'so many'"),
        ("a.md", "The ticket that\nit was born\nof.\n", "a.md:2: 'born of'"),
        ("CMakeLists.txt", 'set(A "b") # a line a library\n', "CMakeLists.txt:1: 'a line a library'"),
    ],
)
def test_phrases_are_found(words: ModuleType, name: str, text: str, where: str) -> None:
    assert found(words, name, text) == [where]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.cpp", "bool is, no, file;\nso many();\n"),
        ("a.cpp", "// There is no file, and it is no longer there; pid 1 of its own namespace. Who asks for it?\n"),
        ("a.py", "so = many = born\nassert is_no(file)\n"),
        ("a.md", "```\nso many\n```\nUse `so many` here.\n"),
        ("a.bin", "so many"),
    ],
)
def test_code_and_good_english_are_not(words: ModuleType, name: str, text: str) -> None:
    assert found(words, name, text) == []


def test_an_exception_is_for_its_file(words: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "EXCEPTIONS", [("a.md", "in so many words")])
    assert found(words, "a.md", "It says so in so many words.\n") == []
    assert found(words, "b.md", "It says so in so many words.\n") == ["b.md:1: 'so many'"]
