"""A second process decodes as the collector does, and nothing depends on its staying alive."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from lookout_server.compressed import decompress
from lookout_server.decoding import decoder as decoder_module
from lookout_server.decoding import load as load_module
from lookout_server.decoding.code import CODE, digest
from lookout_server.decoding.cores import cores
from lookout_server.decoding.decoder import Decoder
from lookout_server.decoding.frames import Kind, Settings, framed
from lookout_server.decoding.link import Link, Lost
from lookout_server.decoding.load import Load
from lookout_server.decoding.metric_rows import MetricMirror
from lookout_server.decoding.process import Process
from lookout_server.decoding.span_rows import SpanMirror
from lookout_server.decoding.suspects import Suspects
from lookout_server.http import Overloaded
from lookout_server.ingest.span_formats import FORMATS
from lookout_server.metrics import span_body
from lookout_server.metrics.reading import MetricReader
from lookout_server.metrics.series import LabelLimits
from lookout_server.signal import Malformed, Receipt
from lookout_server.spans.reading import SpanReader

from ..metrics.test_gateway import line
from ..metrics.test_gateway import receipt as metric_receipt
from ..metrics.test_remote_write import NOW, compress, integer_histogram, request_of, version_2
from ..spans.test_other_formats import PROTO3_SPAN, otlp_request
from .test_metric_rows import shown as shown_metrics
from .test_span_rows import shown

RECEIPT = Receipt("t", 1_700_000_000_000, {})
HOME = Path(__file__).parents[3]


def spans(count: int = 1, name: str = "work") -> bytes:
    """A body of Zipkin's JSON."""
    return json.dumps(
        [{"traceId": f"{n + 1:016x}", "id": f"{n + 1:016x}", "name": name} for n in range(count)]
    ).encode()


BODIES = {
    "zipkin.v2.json": spans(30),
    "zipkin.v2.proto3": PROTO3_SPAN,
    "zipkin.v1.json": b'[{"traceId":"1","id":"2","name":"n","annotations":[],'
    b'"binaryAnnotations":[{"key":"k","value":"v"}]}]',
    "otlp.traces.protobuf": otlp_request().SerializeToString(),
}


def reader(sample_rate: float = 1.0) -> Callable[[str, bytes, Receipt], Any]:
    """What the collector decodes with."""
    made = SpanReader(sample_rate)
    return lambda fmt, body, receipt: made.pack(made.read(fmt, body, receipt))


@asynccontextmanager
async def running(
    sample_rate: float = 1.0, read: list[bytes] | None = None
) -> AsyncIterator[Decoder]:
    """A decoder with its second process; ``read`` gets the bodies decoded beside it."""
    decode = reader(sample_rate)

    def here(fmt: str, body: bytes, receipt: Receipt) -> Any:
        if read is not None:
            read.append(body)
        return decode(fmt, body, receipt)

    decoder = Decoder({"spans": here}, Settings(sample_rate), always=True)
    await decoder.start()
    assert decoder.pid is not None
    try:
        yield decoder
    finally:
        await decoder.stop()


async def eventually(check: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended, or waits for nothing but to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def result(decoding: Awaitable[Any]) -> Any:
    """What a body became: its rows, or the text of its refusal."""
    try:
        return shown((await decoding).rows)
    except Malformed as error:
        return str(error)


@pytest.mark.parametrize("fmt", FORMATS)
async def test_both_ways_give_the_same(fmt: str) -> None:
    """Rows of good bodies and refusals of bad ones, word for word, in every format."""
    alone = Decoder({"spans": reader()})
    good = BODIES.get(fmt, b"")
    bad = [b"", b"x", b"[", b'[{"traceId":"\xff"}]', b"\x0c\0\0\0\1\xff", good[:-1], good[1:]]
    async with running() as decoder:
        for body in (good, *bad, good):
            there = await result(decoder.decode("spans", fmt, body, RECEIPT))
            assert there == await result(alone.decode("spans", fmt, body, RECEIPT))
        assert decoder.bodies["collector"] == 0


async def test_metrics_are_the_same_on_both_ways() -> None:
    """Samples, histograms, exemplars and metadata of good bodies, refusals of bad ones."""
    histogram = request_of([({"__name__": "m", "job": "j"}, [(NOW, 1.0), (NOW + 1, 0.0)])])
    integer_histogram(histogram.timeseries[0])
    bodies = [
        ("remote_write", compress(histogram)),
        ("remote_write", compress(request_of([({"job": "no name"}, [(NOW, 1.0)])]))),
        ("remote_write_v2", compress(version_2())),
        ("lookout_lines", line()),
    ]
    formats = MetricReader(LabelLimits())._decoders
    bodies += [(fmt, body) for fmt in formats for body in (b"", b"x", b"{}", b"\xff\xff")]
    here = MetricReader(LabelLimits()).read
    mirrors = {"metrics": partial(MetricMirror, lambda rows: None)}
    receipt = metric_receipt()
    alone = Decoder({"metrics": here})
    decoder = Decoder({"metrics": here}, Settings(), mirrors, always=True)
    await decoder.start()
    try:
        for fmt, body in bodies * 2:
            there = await metrics_of(decoder.decode("metrics", fmt, body, receipt))
            assert there == await metrics_of(alone.decode("metrics", fmt, body, receipt))
        sent = [fmt for fmt, _ in bodies if fmt != span_body.FORMAT]  # which is columns already
        assert decoder.bodies["process"] == 2 * len(sent)
    finally:
        await decoder.stop()


async def metrics_of(decoding: Awaitable[Any]) -> Any:
    try:
        return shown_metrics((await decoding).rows)
    except Exception as error:
        return type(error), str(error)


async def test_the_body_comes_back_as_the_journal_keeps_it() -> None:
    """Compressed, so that the journal need not do it again; a short one stays as it is."""
    async with running() as decoder:
        long = await decoder.decode("spans", "zipkin.v2.json", spans(50), RECEIPT)
        short = await decoder.decode("spans", "zipkin.v2.json", spans(1), RECEIPT)
    assert long.compressed is not None and decompress(long.compressed) == spans(50)
    assert short.compressed is None


async def test_the_sample_rate_holds_in_the_other_process() -> None:
    """It decides the same spans there, and tells how many it left out."""
    async with running(0.5) as decoder:
        there = await decoder.decode("spans", "zipkin.v2.json", spans(40), RECEIPT)
    here = reader(0.5)("zipkin.v2.json", spans(40), RECEIPT)
    assert shown(there.rows) == shown(here)


async def test_an_unknown_format_is_the_same_error_on_both_ways() -> None:
    """What is no fault of the sender raises in the collector, where it is logged."""
    async with running() as decoder:
        with pytest.raises(KeyError, match="x"):
            await decoder.decode("spans", "x", b"", RECEIPT)


async def test_hints_that_cannot_be_sent_mix_up_nothing() -> None:
    """The collector decodes that body itself, and every other body gets its own rows."""
    unsendable = Receipt("t", 0, {"step": 10**30})
    async with running() as decoder:
        decodings = [decoder.decode("spans", "zipkin.v2.json", spans(), unsendable)]
        decodings += [
            decoder.decode("spans", "zipkin.v2.json", spans(n), Receipt(f"t{n}", n, {}))
            for n in range(1, 5)
        ]
        async with asyncio.timeout(20):
            first, *others = [decoded.rows for decoded in await asyncio.gather(*decodings)]
        assert len(first) == 1 and first.tenant == "t"
        assert [(len(rows), rows.tenant) for rows in others] == [(n, f"t{n}") for n in range(1, 5)]
        assert decoder.bodies == {"process": 5, "collector": 1} and decoder.waiting == (0, 0)


async def test_an_answer_to_another_body_ends_the_link() -> None:
    """Its rows go to nobody."""
    ours, theirs = socket.socketpair()
    with theirs:
        link = Link({"spans": SpanMirror()}, lambda: None)
        await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
        asked = [link.ask("spans", "zipkin.v2.json", spans(n), RECEIPT) for n in (1, 2)]
        for future, number in zip(asked, (1, 3), strict=True):
            theirs.sendall(framed(Kind.MALFORMED, b"no", number=number))
            with pytest.raises(Malformed if number == 1 else Lost):
                await future
        await link.closed
        assert "3" in str(link.error) and link.waiting == 0


async def test_large_and_many_bodies_pass() -> None:
    """More than what may be under way to the process at once: none waits for ever."""
    large = spans(40_000)
    async with running() as decoder:
        asked = [decoder.decode("spans", "zipkin.v2.json", large, RECEIPT) for _ in range(8)]
        asked += [decoder.decode("spans", "zipkin.v2.json", spans(3), RECEIPT) for _ in range(300)]
        counts = [len(decoded.rows) for decoded in await asyncio.gather(*asked)]
        assert min(decoder.bodies.values()) > 0
    assert counts == [40_000] * 8 + [3] * 300


async def test_what_is_under_way_when_the_process_dies_is_decoded() -> None:
    """By the collector or the next process: every body gets its own rows."""
    async with running() as decoder:
        first = decoder.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asked = [
            asyncio.create_task(decoder.decode("spans", "zipkin.v2.json", spans(n + 1), RECEIPT))
            for n in range(20)
        ]
        await eventually(lambda: decoder.waiting[0] == 20)
        os.kill(first, signal.SIGKILL)
        decoded = await asyncio.gather(*asked)
        assert [len(one.rows) for one in decoded] == list(range(1, 21))
        await eventually(lambda: decoder.pid)
        assert decoder.restarts == 1 and decoder.pid != first


async def test_a_body_that_ends_the_process_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, also when it is sent again while there is no process: it is never read in the
    collector, which would end too. Others go on."""
    begin_with(DEADLY, tmp_path, monkeypatch)
    read: list[bytes] = []
    monkeypatch.setattr(decoder_module, "_PATIENCE_SECONDS", 3.0)
    async with running(read=read) as decoder:
        deadly = asyncio.create_task(
            decoder.decode("spans", "zipkin.v2.json", spans(name="deadly"), RECEIPT)
        )
        harmless = asyncio.create_task(decoder.decode("spans", "zipkin.v2.json", spans(2), RECEIPT))
        with pytest.raises(Overloaded, match="ended over this body, twice") as refused:
            await deadly
        assert refused.value.status == 503 and refused.value.retry_after
        assert len((await harmless).rows) == 2
        assert decoder.pid is None
        with pytest.raises(Overloaded):
            await decoder.decode("spans", "zipkin.v2.json", spans(name="deadly"), RECEIPT)
        await eventually(lambda: decoder.restarts == 3)
    assert read == [spans(2)]


def test_suspects_are_forgotten() -> None:
    """After five minutes, beyond a thousand, and where a process lived through one."""
    now = [0.0]
    suspects = Suspects(lambda: now[0])
    for number in range(1_001):
        suspects.add(b"%d" % number)
    assert b"0" not in suspects and b"1" in suspects and b"1000" in suspects
    suspects.discard(b"1000")
    assert b"1000" not in suspects
    now[0] = 200.0
    suspects.add(b"1")
    now[0] = 300.0
    assert b"1" in suspects and b"2" not in suspects
    now[0] = 500.0
    assert b"1" not in suspects


def begin_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each process that decodes run this first."""
    begin = f'import sys\nif sys.argv[0].endswith("__main__.py"):\n{indent(code, "    ")}'
    (folder / "sitecustomize.py").write_text(begin)
    monkeypatch.syspath_prepend(folder)


DEADLY = f"""
import os, signal
sys.path.append({str(HOME)!r})
from lookout_server.spans.reading import SpanReader
scanned = SpanReader.scanned
def deadly(self, fmt, body):
    if b"deadly" in body:
        os.kill(os.getpid(), signal.SIGKILL)
    return scanned(self, fmt, body)
SpanReader.scanned = deadly
"""


async def test_the_process_runs_the_code_of_its_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another version would be found first."""
    (tmp_path / "lookout_server").mkdir()
    (tmp_path / "lookout_server" / "__init__.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with running() as decoder:
        assert len((await decoder.decode("spans", "zipkin.v2.json", spans(), RECEIPT)).rows) == 1
        assert decoder.restarts == 0


async def test_a_process_with_other_code_gets_no_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an upgrade beneath a running collector: the log says what to do."""
    other = f"""
    sys.path.append({str(HOME)!r})
    import lookout_server.decoding.code as code
    code.CODE = "0.0.1, digest 1, of elsewhere"
    """
    begin_with(dedent(other), tmp_path, monkeypatch)
    decoder = Decoder({"spans": reader()}, Settings(), always=True)
    await decoder.start()
    assert decoder.pid is None
    assert len((await decoder.decode("spans", "zipkin.v2.json", spans(), RECEIPT)).rows) == 1
    await decoder.stop()
    assert "it runs 0.0.1, digest 1, of elsewhere, and the collector" in caplog.text
    assert "restart the collector" in caplog.text


def test_every_module_of_the_package_is_part_of_its_digest(tmp_path: Path) -> None:
    """Also where what changed keeps its length, or moves. Files that are no modules do not."""
    (tmp_path / "spans").mkdir()
    module = tmp_path / "spans" / "rows.py"
    module.write_text("form = 1\n")
    digests = {digest(tmp_path)}
    (tmp_path / "openapi.yaml").write_text("of no matter")
    assert {digest(tmp_path)} == digests
    module.write_text("form = 2\n")
    digests.add(digest(tmp_path))
    module.rename(tmp_path / "rows.py")
    digests.add(digest(tmp_path))
    (tmp_path / "core.so").write_bytes(b"compiled")
    digests.add(digest(tmp_path))
    assert len(digests) == 4
    assert digest(HOME / "lookout_server") in CODE


async def test_the_log_has_the_last_words_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And not all of them, however many there were."""
    talks = r"""
    import os
    os.write(2, b"x" * 200_000 + b"\nMemoryError: no room for words\n")
    os._exit(3)
    """
    begin_with(dedent(talks), tmp_path, monkeypatch)
    decoder = Decoder({"spans": reader()}, Settings(), always=True)
    await decoder.start()
    await decoder.stop()
    (message,) = caplog.messages
    assert "status 3" in message and "/ MemoryError: no room for words" in message
    assert len(message) < 1_500


@pytest.mark.parametrize("moment", ["wanted", "made", "connected"])
async def test_stopping_while_the_process_starts_leaves_nothing_behind(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process, and no socket that the event loop still takes for its own."""
    made: list[Process] = []
    connected: list[Link] = []

    class Made(Process):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings)
            made.append(self)

    class Connected(Link):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            connected.append(self)

    monkeypatch.setattr(decoder_module, "Process", Made)
    monkeypatch.setattr(decoder_module, "Link", Connected)
    decoder = Decoder({"spans": reader()}, Settings())
    decoder._keep()
    await asyncio.sleep(0)
    await eventually({"wanted": lambda: True, "made": lambda: made}.get(moment, lambda: connected))
    await decoder.stop()
    assert decoder.pid is None and all(gone(process.pid) for process in made)
    made.clear()
    del decoder
    gc.collect()  # what was not closed is told of now
    for _ in range(5):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(b"x")
            assert await asyncio.get_running_loop().sock_recv(ours, 1) == b"x"


async def test_a_process_for_which_there_is_no_thread_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The collector starts and stops as ever."""

    def no_thread(settings: Settings) -> Process:
        raise RuntimeError("can't start new thread")

    decoder = Decoder({"spans": reader()}, Settings(), always=True)
    with monkeypatch.context() as patch:
        patch.setattr(decoder_module, "Process", no_thread)
        async with asyncio.timeout(20):
            await decoder.start()
    assert "can't start new thread" in caplog.text
    await eventually(lambda: decoder.pid)
    await decoder.stop()


async def test_a_process_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was under way to it is decoded all the same."""
    monkeypatch.setattr(decoder_module, "_HANGS_SECONDS", 0.2)
    monkeypatch.setattr(decoder_module, "_LOOK_SECONDS", 0.05)
    async with running() as decoder:
        first = decoder.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asked = [decoder.decode("spans", "zipkin.v2.json", spans(n), RECEIPT) for n in (1, 2)]
        assert [len(one.rows) for one in await asyncio.gather(*asked)] == [1, 2]
        assert gone(first)


async def test_a_process_that_has_nothing_to_do_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends without a word, and another one comes when there is much to decode again."""
    monkeypatch.setattr(decoder_module, "_IDLE_SECONDS", 0.2)
    monkeypatch.setattr(decoder_module, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(load_module, "_LASTING", 0)  # any body is much
    decoder = Decoder({"spans": reader()}, Settings())
    pids = []
    for _ in range(2):
        await decoder.decode("spans", "zipkin.v2.json", spans(100), RECEIPT)
        await eventually(lambda: decoder.pid)
        pids.append(decoder.pid)
        await eventually(lambda: decoder.pid is None and decoder._keeping is None)
    assert pids[0] != pids[1] and all(gone(pid) for pid in pids if pid)
    assert decoder.restarts == 0 and not caplog.records
    await decoder.stop()


async def test_stopping_answers_what_is_under_way() -> None:
    """And ends the process; what comes later is decoded in the collector."""
    async with running() as decoder:
        pid = decoder.pid
        assert pid is not None
        body = spans(2_000)
        asked = [
            asyncio.create_task(decoder.decode("spans", "zipkin.v2.json", body, RECEIPT))
            for _ in range(20)
        ]
        await asyncio.sleep(0)  # they have all been asked
        assert decoder.waiting[0] == 20
        await decoder.stop()
        assert [len(one.rows) for one in await asyncio.gather(*asked)] == [2_000] * 20
        assert decoder.bodies == {"process": 20, "collector": 0}
        assert gone(pid) and decoder.pid is None
        assert len((await decoder.decode("spans", "zipkin.v2.json", body, RECEIPT)).rows) == 2_000


async def test_a_process_that_cannot_start_costs_nothing_but_its_help(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Bodies are decoded in the collector, and the log says why."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    decoder = Decoder({"spans": reader()}, Settings(1.0), always=True)
    await decoder.start()
    assert len((await decoder.decode("spans", "zipkin.v2.json", spans(5), RECEIPT)).rows) == 5
    await eventually(lambda: "cannot be started" in caplog.text)
    await decoder.stop()


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (("os.name", "nt"), "cannot be handed to another process"),
        (("socket.AF_UNIX", None), "cannot be handed to another process"),
        (("sys.executable", ""), "no interpreter beside this program"),
        (("sys.frozen", True), "no interpreter beside this program"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_a_system_that_cannot_have_a_process_decodes_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lacks: Any, says: str
) -> None:
    """The log has one line of it, however much there is to decode, and nothing is tried."""
    with monkeypatch.context() as patch:
        if lacks[1] is None:
            patch.delattr(lacks[0])
        else:
            patch.setattr(*lacks, raising=False)
        decoder = Decoder({"spans": reader()}, Settings(), always=True)
    monkeypatch.setattr(load_module, "_BUSY_SECONDS", 0.0)
    monkeypatch.setattr(load_module, "_LASTING", 0)
    await decoder.start()
    decoded = await decoder.decode("spans", "zipkin.v2.json", spans(5), RECEIPT)
    assert len(decoded.rows) == 5
    assert decoder.bodies == {"collector": 1, "process": 0}
    await decoder.stop()
    [line] = caplog.messages
    assert says in line


async def test_buffers_of_the_usual_size_do_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS refuses larger ones than it allows, where Linux gives what it allows."""

    def refuses(*arguments: Any) -> None:
        raise OSError("no buffer space available")

    monkeypatch.setattr("socket.socket.setsockopt", refuses, raising=False)
    process = await asyncio.to_thread(Process, Settings())
    try:
        assert process.pid
    finally:
        process.kill()
        process.errors.close()
        process.end(5)


def test_a_process_is_wanted_after_seconds_of_much_decoding() -> None:
    """Not for a burst, however large, nor for a trickle, however long."""
    now = [0.0]
    load = Load(lambda: now[0])
    assert not load.add(30.0)
    trickle = []
    for second in range(10, 100):
        now[0] = second
        trickle += [load.add(0.01) for _ in range(5)]
    assert not any(trickle)
    lasting = []
    for second in range(200, 205):
        now[0] = second
        lasting.append(load.add(0.2))
    assert lasting == [False, True, True, True, True]


def test_a_quota_of_time_counts_as_cores(tmp_path: Path) -> None:
    """A container that may use one core's time has one, whatever the machine has; so has a
    service in a group that may."""
    ours = tmp_path / "cgroup"
    groups = tmp_path / "groups"
    service = groups / "system.slice" / "lookout.service"
    service.mkdir(parents=True)
    everything = len(os.sched_getaffinity(0))
    assert cores(groups, ours) == everything
    ours.write_text("1:cpu:/\n0::/system.slice/lookout.service\n")
    (service / "cpu.max").write_text("max 100000\n")
    assert cores(groups, ours) == everything
    for place in (service, service.parent, groups):
        (place / "cpu.max").write_text("50000 100000\n")
        assert cores(groups, ours) == 1
        (place / "cpu.max").unlink()
    (groups / "cpu.max").write_text("50000 100000\n")
    for outside in ("0::/../other\n", "no such line\n", ""):
        ours.write_text(outside)
        assert cores(groups, ours) == 1
