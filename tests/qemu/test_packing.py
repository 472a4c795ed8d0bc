"""gc run --copy: what is packed for the way into the VM."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from gridcentric.hypervisors.qemu.run import PIECE, _packed


def unpacked(source: Path, target: str, into: Path) -> Path:
    pieces = list(_packed(source, target))
    assert max(map(len, pieces)) <= PIECE, "a large file is not in memory as a whole"
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces)), mode="r|") as tar:
        tar.extractall(into)
    return into


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "from" / ("deep" * 40)).mkdir(parents=True)
    (tmp_path / "from" / "large").write_bytes(os.urandom(3 * PIECE + 1))
    (tmp_path / "from" / "empty").touch(0o755)
    (tmp_path / "from" / "link").symlink_to("large")
    os.link(tmp_path / "from" / "large", tmp_path / "from" / "same")
    (tmp_path / "from" / ("deep" * 40) / "é\udcff").write_bytes(b"deep")
    to = unpacked(tmp_path / "from", "/app", tmp_path / "to")
    for path in (tmp_path / "from").rglob("*"):
        copied = to / path.relative_to(tmp_path / "from")
        assert copied.lstat().st_mode == path.lstat().st_mode
        assert copied.is_dir() or copied.read_bytes() == path.read_bytes()
    assert (to / "link").readlink() == Path("large")


def test_a_link_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "file").write_text("content")
    (tmp_path / "folder").symlink_to("from")
    (tmp_path / "file").symlink_to("from/file")
    assert (unpacked(tmp_path / "folder", "/app", tmp_path / "to") / "file").read_text() == "content"
    copied = unpacked(tmp_path / "file", "/srv/other", tmp_path / "to") / "other"
    assert not copied.is_symlink()
    assert copied.read_text() == "content"
