"""Files that cannot be read to their end cost what stands behind the damage, and no other file."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

import cramjam
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from exporters.follow import LogDirectory, Positions
from lookout_server.cli import cli

from .test_shipping import shipper, write

LINES = [b"%d %s\n" % (number, b"x" * (number % 300)) for number in range(20_000)]
PACKED = gzip.compress(b"".join(LINES))


@given(
    size=st.integers(0, len(PACKED)),
    flipped=st.none() | st.integers(0, len(PACKED) - 1),
    read=st.integers(0, 100),
)
def test_what_stands_before_damage_is_read(size: int, flipped: int | None, read: int) -> None:
    """Whole lines in their order, wherever a file is cut or a byte of it is wrong."""
    packed = bytearray(PACKED)
    if flipped is not None:
        packed[flipped] ^= 0xFF
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "biz-digest.log.1.gz")
        path.write_bytes(packed[:size])
        told: list[str] = []
        logs, positions = LogDirectory(path.parent, on_damage=told.append), Positions()
        found = [line for piece in logs.unread(positions) for line in piece.lines]
        assert all(line.endswith(b"\n") for line in found)
        assert len(told) <= 1
        if flipped is None:
            assert found == LINES[: len(found)]
            assert bool(told) == (0 < size < len(PACKED))
            if size > len(PACKED) // 2:
                assert len(found) > len(LINES) // 4
        assert list(logs.unread(positions)) == []  # not again
        assert len(told) <= 1


def test_a_damaged_file_holds_up_no_other(tmp_path: Path, receiver: Any, spans: Any) -> None:
    """Each is told once, and what comes later is sent too."""
    write(tmp_path, spans(5))
    (tmp_path / "biz-digest.log.1.gz").write_bytes(PACKED[:100])
    (tmp_path / "biz-digest.log.2.gz").write_bytes(b"no gzip")
    (tmp_path / "biz-digest.log.3.zst").write_bytes(b"no zstd")
    (tmp_path / "biz-digest.log.4.zst").write_bytes(bytes(cramjam.zstd.compress(b"x\n" * 99))[:-9])
    told: list[str] = []
    ship = shipper(tmp_path, receiver.url, on_damage=told.append)
    assert ship.run_once() == 5
    write(tmp_path, spans(7))
    assert ship.run_once() == 7
    assert len(told) == 4
    assert all("cannot be read to its end" in text for text in told)


@pytest.mark.parametrize("command", ["ship", "logs"])
def test_commands_tell_of_damage(
    tmp_path: Path, receiver: Any, spans: Any, span: Any, command: str
) -> None:
    """In one line, and do what can be done."""
    write(tmp_path, spans(3))
    (tmp_path / "biz-digest.log.1.gz").write_bytes(PACKED[:100])
    trace = f"{span(span_id=1).trace_id:x}"
    arguments = {
        "ship": ["ship", str(tmp_path), "--to", receiver.url, "--once"],
        "logs": ["logs", "trace", trace, str(tmp_path)],
    }[command]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("\n") == 1
    assert "biz-digest.log.1.gz cannot be read to its end" in done.stderr
    assert "3 spans" in done.stdout


def test_a_first_line_may_be_long(tmp_path: Path) -> None:
    """A span of megabytes is read, and so is what stands behind it."""
    long = b"x" * (3 << 20) + b"\n"
    path = tmp_path / "biz-digest.log"
    path.write_bytes(long[:-1])
    logs, positions = LogDirectory(tmp_path), Positions()
    assert list(logs.unread(positions)) == []
    path.write_bytes(long + b"next\n")
    assert [line for piece in logs.unread(positions) for line in piece.lines] == [long, b"next\n"]
