"""What is open, mapped or locked below a private folder follows into each clone's own view of it."""

from __future__ import annotations

import pytest
from programs import program, went_well
from sandboxes import REPEAT, Sandbox

# Name: (before the clone, in every domain after it). The folder holds f ("0123456789") and sub/g ("inner").
CASES = {
    "reading": (
        "file = open('f', 'rb', buffering=0); file.read(3)",
        """
        assert file.read(2) == b"34"
        meet()
        assert file.read(2) == b"56"
        """,
    ),
    "writing": (
        """
        plain, more, both = open("w", "w"), open("f", "a"), open("sub/g", "r+")
        plain.write("start "); plain.flush()
        """,
        """
        plain.write(me); plain.flush()
        more.write(me); more.flush()
        both.write("I" + me); both.flush()
        meet()
        assert read("w") == "start " + me, read("w")
        assert read("f") == "0123456789" + me
        assert read("sub/g") == "I" + me + "ner"
        """,
    ),
    "appending at the end of its own": (
        "log = os.open('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND); os.write(log, b'a')",
        """
        for _ in range(vmid + 1):
            os.write(log, me.encode())
        meet()
        assert read("log") == "a" + me * (vmid + 1)
        """,
    ),
    "duplicates share an offset": (
        "one = os.open('f', os.O_RDONLY); two = os.dup(one)",
        """
        os.lseek(one, 4, os.SEEK_SET)
        meet()
        assert os.read(two, 2) == b"45"
        """,
    ),
    "made, changed, removed": (
        """
        write("new", "by the master"); write("f", "changed"); os.mkdir("fresh"); os.rename("sub/g", "sub/h")
        subprocess.check_call(["rm", "-r", "sub"]); os.mkdir("sub"); os.symlink("f", "link")
        """,
        """
        assert sorted(os.listdir(".")) == ["f", "fresh", "link", "new", "program", "sub"]
        assert os.listdir("sub") == [] and read("new") == "by the master" and read("link") == "changed"
        meet()
        write("new", me); os.rename("f", "f" + me); os.rmdir("sub"); write("fresh/" + me, me)
        meet()
        assert sorted(os.listdir(".")) == ["f" + me, "fresh", "link", "new", "program"], os.listdir(".")
        assert os.listdir("fresh") == [me] and read("new") == me
        """,
    ),
    "working folder": (
        "os.chdir('sub')",
        """
        assert os.getcwd().endswith("/sub") and read("g") == "inner"
        write("own", me)
        meet()
        assert read("../sub/own") == me
        """,
    ),
    "open folders": (
        """
        folder, path, g = os.open("sub", os.O_RDONLY), os.open("sub", os.O_PATH), os.open("sub/g", os.O_PATH)
        """,
        """
        os.close(os.open("own" + me, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        meet()
        assert sorted(os.listdir(folder)) == ["g", "own" + me]
        assert os.stat("own" + me, dir_fd=path).st_size == 0
        write("sub/g", "longer" + me)
        assert os.fstat(g).st_size == 7
        """,
    ),
    "open folders outside": (
        """
        here, outside = os.path.basename(os.getcwd()), os.path.dirname(os.getcwd())
        folders = [os.open(outside, how | os.O_DIRECTORY) for how in (os.O_RDONLY, os.O_PATH)]
        fcntl.flock(folders[0], fcntl.LOCK_SH)
        """,
        """
        for at, folder in enumerate(folders):
            os.close(os.open(f"{here}/own{me}-{at}", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        meet()
        own = {f"own{me}-0", f"own{me}-1"}
        assert own == {name for name in os.listdir(".") if name.startswith("own")}, os.listdir(".")
        """,
    ),
    "renamed while open": (
        "file = open('f', 'r+'); os.rename('f', 'sub/elsewhere')",
        """
        file.write(me); file.flush()
        meet()
        assert read("sub/elsewhere") == me + "123456789"
        """,
    ),
    "unnamed": (
        """
        file = tempfile.TemporaryFile(dir=".", buffering=0); file.write(b"common ")
        old = open("f", "rb", buffering=0); os.remove("f")
        """,
        """
        file.write(me.encode())
        meet()
        file.seek(0)
        assert file.read() == b"common " + me.encode()
        assert old.read() == b"0123456789" and sorted(os.listdir(".")) == ["program", "sub"]
        """,
    ),
    "unnamed and mapped": (
        """
        file = open("gone", "w+b", buffering=0); file.write(b"-" * 8192); os.remove("gone")
        memory = mmap.mmap(file.fileno(), 8192)
        memory[1] = ord("m")
        """,
        """
        memory[0] = ord(me)
        meet()
        assert memory[:3] == me.encode() + b"m-"
        assert os.pread(file.fileno(), 3, 0) == me.encode() + b"m-"
        """,
    ),
    "mapped shared": (
        """
        file = open("mapped", "w+b", buffering=0); file.write(b"-" * 8192)
        memory = mmap.mmap(file.fileno(), 8192)
        memory[1] = ord("m")
        """,
        """
        memory[0] = ord(me)
        meet()
        assert memory[:3] == me.encode() + b"m-"
        assert read("mapped")[:3] == me + "m-"
        with open("mapped", "r+b") as again:
            again.seek(4096); again.write(b"by " + me.encode())
        meet()
        assert memory[4096:4100] == b"by " + me.encode()
        """,
    ),
    "mapped private": (
        """
        write("mapped", "a" * 12288)
        file = open("mapped", "r+b")
        seen = mmap.mmap(file.fileno(), 12288, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        own = mmap.mmap(file.fileno(), 12288, flags=mmap.MAP_PRIVATE)
        own[0] = ord("m")
        """,
        """
        if vmid == 0:
            write("mapped", "")
        meet()
        if vmid:
            assert seen[:] == b"a" * 12288
            assert own[:] == b"m" + b"a" * 12287
            assert os.path.getsize("mapped") == 12288
        """,
    ),
    "locks": (
        """
        whole = open("whole", "w"); fcntl.flock(whole, fcntl.LOCK_EX)
        part = open("part", "w+"); fcntl.lockf(part, fcntl.LOCK_EX, 10, 5)
        LOOK = '''
        import fcntl, sys
        fcntl.flock(open("whole"), 6) if sys.argv[1] == "whole" else fcntl.lockf(open("part", "r+"), 6, 10, 5)
        '''
        """,
        """
        for which in ("whole", "part"):
            tried = subprocess.run([sys.executable, "-c", textwrap.dedent(LOOK), which], capture_output=True, text=True)
            assert "BlockingIOError" in tried.stderr, tried
        whole.write(me); whole.flush(); part.write(me); part.flush()
        meet()
        assert (read("whole"), read("part")) == (me, me)
        """,
    ),
    "sqlite inside a transaction": (
        """
        base = sqlite3.connect("base.db", isolation_level=None)
        base.execute("pragma journal_mode=wal"); base.execute("create table t (x)")
        base.execute("begin immediate"); base.execute("insert into t values ('common')")
        """,
        """
        base.execute("insert into t values (?)", (me,)); base.execute("commit")
        meet()
        other = sqlite3.connect("base.db")
        assert [row[0] for row in other.execute("select x from t")] == ["common", me]
        assert other.execute("pragma integrity_check").fetchone() == ("ok",)
        """,
    ),
    "inotify": (
        """
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(watch, b".", 0x100) == 1
        """,
        """
        if vmid:
            assert int.from_bytes(os.read(watch, 4096)[4:8], "little") == 0x8000  # IN_IGNORED
            assert libc.inotify_add_watch(watch, b".", 0x100) == 2
        write("by" + me, "")
        meet()
        assert os.read(watch, 4096).count(b"by") == 1
        """,
    ),
    "standard output": (
        "saved = os.dup(1); os.dup2(os.open('out', os.O_WRONLY | os.O_CREAT), 1)",
        """
        os.write(1, me.encode())
        meet()
        assert read("out") == me
        os.dup2(saved, 1)
        """,
    ),
    "kinds of files": (
        """
        os.mkfifo("fifo"); os.symlink("/nowhere", "dangling"); write("a", "linked"); os.link("a", "b")
        sparse = open("sparse", "wb"); sparse.seek(1 << 30); sparse.write(b"end"); sparse.flush()
        os.chmod("a", 0o640); os.utime("a", (1, 2)); os.setxattr("a", "user.note", b"kept")
        os.mkdir("locked", 0o555); os.utime("locked", (3, 4))
        """,
        """
        assert stat.S_ISFIFO(os.lstat("fifo").st_mode) and os.readlink("dangling") == "/nowhere"
        assert os.path.samefile("a", "b")
        facts = os.stat("a")
        assert (stat.S_IMODE(facts.st_mode), facts.st_mtime, os.getxattr("a", "user.note")) == (0o640, 2, b"kept")
        assert (stat.S_IMODE(os.stat("locked").st_mode), os.stat("locked").st_mtime) == (0o555, 4)
        facts = os.stat("sparse")
        assert facts.st_size == (1 << 30) + 3 and facts.st_blocks < 1000
        meet()
        write("a", me)
        meet()
        assert read("b") == me
        """,
    ),
    "threads that write": (
        """
        count, stop = 0, threading.Event()
        def work():
            global count
            with open("count", "w", buffering=1) as file:
                while not stop.is_set():
                    count += 1
                    file.write(f"{count}\\n")
        thread = threading.Thread(target=work); thread.start()
        """,
        """
        seen = count
        while count < seen + 100:
            pass
        stop.set(); thread.join()
        assert [int(line) for line in read("count").split()] == list(range(1, count + 1))
        """,
    ),
}


@pytest.mark.parametrize("repeat", REPEAT)
@pytest.mark.parametrize("case", CASES)
def test_it_follows(case: str, repeat: int, mode: str, sandbox: Sandbox) -> None:
    (sandbox.folder / "sub").mkdir()
    (sandbox.folder / "sub" / "g").write_text("inner")
    sandbox.has(f="0123456789", program=program(*CASES[case]))
    before = sandbox.contents()
    said = sandbox.run(sandbox.python, "program", mode=mode)
    assert (said.stdout, said.returncode) == (went_well(), 0), said.stderr
    assert sandbox.contents() == before


@pytest.mark.parametrize("repeat", REPEAT)
def test_a_child_whose_working_folder_is_outside(repeat: int, sandbox: Sandbox) -> None:
    (sandbox.folder / "sub").mkdir()
    script = program(
        """
        child = subprocess.Popen(
            ["bash", "-c", "while read name; do echo $name > sub/by; cat sub/by; done"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        """,
        """
        child.stdin.write(me + "\\n")
        assert child.stdout.readline() == me + "\\n"
        meet()
        assert read("sub/by") == me + "\\n"
        child.stdin.close()
        assert child.wait() == 0
        """,
    )
    sandbox.has(program=script)
    before = sandbox.contents()
    said = sandbox.run(sandbox.python, "program", private="--tree --private-files=sub")
    assert (said.stdout, said.returncode) == (went_well(), 0), said.stderr
    assert sandbox.contents() == before
