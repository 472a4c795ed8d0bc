"""A program's input, output and errors in a VM: three descriptors that have nothing to do with each other, as anywhere else."""

from __future__ import annotations

from vms import Family

MUCH = 4 << 20  # bytes; more than all pipes and buffers on the way have room for


def test_input_that_does_not_block_leaves_output_alone(family: Family) -> None:
    """Event loops make their input non-blocking; whoever writes much in one go must not get EAGAIN for that."""
    script = f"import os; os.set_blocking(0, False); assert os.get_blocking(1) and os.get_blocking(2); print('x' * {MUCH})"
    done = family.run("python3", "-c", script)
    assert len(done.master.output) == MUCH + 1


def test_node_and_asyncio_write_much(family: Family) -> None:
    node = f"process.stdin.resume(); process.stdout.write('x'.repeat({MUCH})); process.stdin.destroy()"
    assert len(family.run("node", "-e", node).master.output) == MUCH
    loop = (
        "import asyncio, sys\n"
        "async def main():\n"
        "    reader = asyncio.StreamReader()\n"
        "    protocol = asyncio.StreamReaderProtocol(reader)\n"
        "    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)\n"
        f"    sys.stdout.write('x' * {MUCH} + (await reader.read()).decode())\n"
        "asyncio.run(main())\n"
    )
    assert family.run("python3", "-c", loop, given=b"its input").master.output == b"x" * MUCH + b"its input"


def test_errors_apart(family: Family) -> None:
    program = family.start("sh", "-c", f"echo out; echo err >&2; head -c {MUCH} /dev/zero >&2; echo last", apart=True)
    family.until(lambda: program.master.code is not None)
    assert program.master.output == b"out\nlast\n"
    assert program.master.errors == b"err\n" + bytes(MUCH)


def test_errors_in_the_output_come_in_their_order(family: Family) -> None:
    numbers = range(200)
    script = "; ".join(f"echo {n} >&{1 + n % 2}" for n in numbers)
    assert family.run("sh", "-c", script).master.lines == [str(n) for n in numbers]


def test_the_descriptors_can_be_opened_by_name(family: Family) -> None:
    script = "read line < /dev/stdin; echo $line > /dev/stdout; echo trouble > /dev/stderr"
    program = family.start("sh", "-c", script, given=b"from here\n", apart=True)
    family.until(lambda: program.master.code is not None)
    assert (program.master.output, program.master.errors) == (b"from here\n", b"trouble\n")


def test_a_program_that_closes_its_input(family: Family) -> None:
    """Whoever writes to it is not held up, and its output goes on; nor is the machine's next program."""
    program = family.start("sh", "-c", "exec < /dev/null; echo closed; sleep 1; echo over", given=bytes(MUCH))
    family.until(lambda: program.master.code is not None)
    assert program.master.lines == ["closed", "over"]
    assert family.run("wc", "-c", given=bytes(MUCH)).master.lines == [str(MUCH)]


def test_a_program_that_closes_its_output_still_reads(family: Family) -> None:
    script = "exec > /dev/null 2>&1; wc -c > /tmp/read"
    program = family.start("sh", "-c", script, given=bytes(MUCH))
    family.until(lambda: program.master.code is not None)
    assert family.run("cat", "/tmp/read").master.lines == [str(MUCH)]


def test_what_is_on_its_way_at_a_cloning_is_said_once(family: Family) -> None:
    """Also by a process in the background, of whose parent the agent knows that it has ended."""
    count = "import pathlib\nfor n in range(30000): print(n, flush=True)\npathlib.Path('/tmp/counted').touch()"
    behind = family.start("sh", "-c", f'rm -f /tmp/counted; python3 -c "{count}" &')
    family.until(lambda: len(behind.master.output) > 100)
    family.run(
        "bash", "-c",
        "ticket=$(gc rt 1 1 1 10000); gc clone $ticket; while [ ! -e /tmp/counted ]; do sleep 0.1; done;"
        "gc ismaster && gc wait $ticket || gc join",
    )  # fmt: skip
    numbers = [str(n) for n in range(30000)]
    family.until(lambda: behind.master.lines[-1] == numbers[-1])
    assert behind.master.lines == numbers
    (clone,) = behind.clones()
    assert 0 < len(clone.lines) < len(numbers)
    assert clone.lines == numbers[-len(clone.lines) :]


def test_input_is_the_masters_from_a_cloning_on(family: Family) -> None:
    """What has come into the VM by then is in a pipe, which is cloned as all are."""
    script = (
        "ticket=$(gc rt 1 1 1 10000); gc clone $ticket; read line; echo $line; gc ismaster || gc join; read line; echo $line"
    )
    program = family.start("bash", "-c", f"read line; {script}", given=None)
    family.give(program, b"start\nbefore\n")
    family.until(lambda: bool(program.clones()) and not family.clones())
    family.give(program, b"after\n")
    family.until(lambda: program.master.code is not None)
    assert program.master.lines == ["0", "before", "after"]
    (clone,) = program.clones()
    assert clone.lines == [str(clone.vmid), "before"]
