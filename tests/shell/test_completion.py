"""Completion, asked of the shells themselves: every verb, every option, and commands where gc runs one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from in_domain import GC, VERBS, gc

# Each prints what the shell offers for the words $@, of which the last is being typed.
BASH = r"""
source <("$GC" completion bash)
[[ $(complete -p gc) == 'complete -o default -F _gc gc' && $(complete -p gridcentric) == *' gridcentric' ]] || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_gc
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
autoload -U compinit && compinit -D -u
source <("$GC" completion zsh)
[[ $_comps[gc] == _gc ]] || exit 1
# The functions that want to be in the line editor: what they are given is what is offered.
_describe() { local offer; for offer in ${(P)2}; do print -r -- ${offer%%:*}; done; true }
_command_names() { print -rl -- ${(k)commands} }
_files() { print -rl -- *(N) }
words=("$@") CURRENT=$#
_gc
"""
FISH = r"""
$GC completion fish | source
complete -C "$argv" | string replace -r '\t.*' ''
true
"""


def offers(shell: str, tmp_path: Path) -> Callable[..., set[str]]:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")

    def ask(*words: str) -> set[str]:
        command = {
            "bash": ["bash", "--norc", "-c", BASH, "bash", *words],
            "zsh": ["zsh", "-f", "-c", ZSH, "zsh", *words],
            "fish": ["fish", "--no-config", "-c", FISH, *words],
        }[shell]
        env = {"GC": GC, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done
        found = set(done.stdout.split("\n")) - {""}
        typed = words[-1]
        return {word for word in found if word.startswith(typed)} if shell == "zsh" else found  # zsh does it afterwards

    return ask


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, tmp_path: Path) -> None:
    ask = offers(shell, tmp_path)
    assert set(VERBS) <= ask("gc", "") <= {*VERBS, "--help", "--version"}
    assert ask("gc", "cl") == {"clone"}
    assert ask("gc", "frob") == set()
    for verb in VERBS:
        options = set(re.findall(r"^  (--[\w-]+)", gc(verb, "--help").stdout, re.MULTILINE))
        assert ask("gc", verb, "--") == {*options, "--help"}, verb
    assert "ls" in ask("gc", "run", "l")
    assert ask("gc", "completion", "") >= {"bash", "zsh", "fish"}
    assert ask("gc", "image", "b") == {"build"}
    assert ask("gc", "join", "n") == {"noreport"}
