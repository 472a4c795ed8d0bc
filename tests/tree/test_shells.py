"""Shell scripts with children: background jobs, pipelines, loops. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
from typing import Any

import pytest

REPEAT = range(int(os.environ.get("GC_REPEAT", "1")))
repeated = pytest.mark.parametrize("repeat", REPEAT)
in_each_shell = pytest.mark.parametrize("shell", ["bash", "dash"])

# The family ends with its master.
FINALLY = """
[ $vmid != 0 ] || gc wait $ticket > /dev/null
"""
CLONE = """
ticket=$(gc rt 2 2 1 5000 | awk '{print $2}')
vmid=$(gc clone $ticket)
"""


@repeated
@in_each_shell
def test_parents_wait_for_their_children(tree: Any, shell: str, repeat: int) -> None:
    said = tree.script("""
        sleep 300 & killed=$!
        (trap 'exit 7' TERM; while :; do sleep 0.05; done) & trapped=$!
        sh -c 'exit 5' & ended=$!
        sleep 0.3
        """ + CLONE + """
        kill -KILL $killed; wait $killed 2>/dev/null; one=$?
        kill -TERM $trapped; wait $trapped; two=$?
        wait $ended; three=$?
        sh -c 'exit 3' & wait $!; four=$?
        echo "$vmid: $one $two $three $four"
        """ + FINALLY, shell)  # fmt: skip
    assert [line for line in said if "Killed" not in line] == ["0: 137 7 5 3", "1: 137 7 5 3", "2: 137 7 5 3"]


@repeated
@in_each_shell
def test_a_pipeline_loses_nothing_and_says_nothing_twice(tree: Any, shell: str, repeat: int) -> None:
    said = tree.script("""
        { n=0; while [ $n -lt 300 ]; do echo $n; n=$((n+1)); sleep 0.003; done; } | sed -u 's/$/ x/' | {
          want=0
          while read number x; do
            [ "$number" = "$want" ] || { echo "got $number for $want"; exit 1; }
            want=$((want+1))
          done
          [ $want = 300 ] || { echo "the end came at $want"; exit 1; }
        } &
        sleep 0.3
        """ + CLONE + """
        wait $!
        echo "$vmid: $?"
        """ + FINALLY, shell)  # fmt: skip
    assert said == ["0: 0", "1: 0", "2: 0"]


@repeated
def test_jobs_are_groups_of_processes(tree: Any, repeat: int) -> None:
    """Of bash alone: dash has job control only in a terminal."""
    said = tree.script("""
        set -m
        (trap 'exit 7' TERM; while :; do sleep 0.05; done) 2>/dev/null & job=$!
        sleep 0.3
        """ + CLONE + """
        kill -TERM -- -$job; wait $job
        echo "$vmid: $?"
        """ + FINALLY)  # fmt: skip
    assert said == ["0: 7", "1: 7", "2: 7"]


@repeated
def test_a_loop_in_the_background_goes_on_in_every_clone(tree: Any, repeat: int) -> None:
    """As the API of 2010 was shown: a loop of curls, and gc clone."""
    said = tree.script("""
        (while :; do sleep 0.02; echo tick; done) > >(while read line; do
          now=$(gc vmid 2> /dev/null) && echo "$line" >> $0.ticks.$now  # it is in no domain when its parent has gone
        done) &
        sleep 0.4
        """ + CLONE + """
        until [ "$(grep -sc tick $0.ticks.$vmid)" -gt 3 ]; do sleep 0.1; done 2> /dev/null
        kill $!
        echo "$vmid ticks"
        """ + FINALLY)  # fmt: skip
    assert said == ["0 ticks", "1 ticks", "2 ticks"]


@repeated
def test_a_command_with_its_output_in_a_file(tree: Any, repeat: int) -> None:
    """Parent and child have one open file, with one offset: in each clone it is another, but still one for both."""
    said = tree.script("""
        printf 'abcdefghijklmnopqrstuvwxyz' > $0.text
        exec 5< $0.text
        (trap 'read -N 3 text <&5; exit' USR1; while :; do sleep 0.05; done) & child=$!
        read -N 2 first <&5
        sleep 0.2
        """ + CLONE + """
        kill -USR1 $child; wait $child
        read -N 1 text <&5
        echo "$vmid: $first $text"
        """ + FINALLY)  # fmt: skip
    assert said == ["0: ab f", "1: ab f", "2: ab f"]


@repeated
def test_a_clone_of_a_clone(tree: Any, repeat: int) -> None:
    said = tree.script("""
        sleep 300 & child=$!
        ticket=$(gc rt 1 1 1 5000 | awk '{print $2}')
        first=$(gc clone $ticket)
        if [ $first = 1 ]; then
          ticket=$(gc rt 1 1 1 5000 | awk '{print $2}')
          second=$(gc clone $ticket)
          kill $child; wait $child; status=$?
          echo "$(gc vmid): $status"
          [ $second != 0 ] || gc wait $ticket > /dev/null
        else
          kill $child; wait $child; echo "0: $?"
          gc wait $ticket > /dev/null
        fi
        """)  # fmt: skip
    assert said == ["0: 143", "1: 143", "2: 143"]


@repeated
def test_children_that_start_and_end_all_the_time(tree: Any, repeat: int) -> None:
    said = tree.script("""
        for i in 1 2 3; do (while :; do /bin/true; done) & done
        trap 'kill $(jobs -p)' EXIT
        sleep 0.2
        for i in 1 2 3 4 5; do
          ticket=$(gc rt 1 1 1 5000 | awk '{print $2}')
          vmid=$(gc clone $ticket) || exit 1
          [ $vmid = 0 ] || break
          gc wait $ticket > /dev/null
        done
        echo "$vmid"
        """)  # fmt: skip
    assert said == ["0", "1", "2", "3", "4", "5"]
