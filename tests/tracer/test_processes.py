"""Forks and exits, in real processes."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from examples.processes import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Collector:
    """Takes spans as Zipkin JSON; ``hang`` makes it answer nothing, ``delay_s`` late."""

    def __init__(self, hang: bool = False, delay_s: float = 0) -> None:
        self.names: Counter[str] = Counter()
        self.ids: Counter[tuple[str, str]] = Counter()
        self.released = threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.take(body, self.headers.get("Content-Encoding", ""))
                if hang:
                    owner.released.wait(60)
                time.sleep(delay_s)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, body: bytes, encoding: str) -> None:
        if encoding == "gzip":
            import gzip

            body = gzip.decompress(body)
        elif encoding == "zstd":
            import cramjam

            body = bytes(cramjam.zstd.decompress(body))
        for span in json.loads(body):
            self.names[span["name"]] += 1
            self.ids[span["traceId"], span["id"]] += 1

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def run(code: str, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own."""
    code = textwrap.dedent(code)
    return subprocess.run(
        [*(sys.executable, "-W", "ignore::DeprecationWarning", "-c"), code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


FORK = """
    import os, sys, threading, time, tracer
    tracer.init("svc", collector=sys.argv[1])
    stop = threading.Event()
    done = []
    def load(number):
        count = 0
        while not stop.is_set() or count < 50:
            with tracer.start_span("parent"):
                pass
            count += 1
            if count % 50 == 0:
                time.sleep(0.001)
        done.append(count)
    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    for thread in threads: thread.start()
    children = []
    for number in range(6):
        time.sleep(0.02)
        pid = os.fork()
        if pid == 0:
            for _ in range(100):
                with tracer.start_span("child"):
                    pass
            ok = tracer.shutdown(10)
            os._exit(0 if ok else 3)
        children.append(pid)
    stop.set()
    for thread in threads: thread.join()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert tracer.shutdown(10)
    print(sum(done), codes)
"""


def test_forking_under_load_loses_and_repeats_nothing(collector: Collector) -> None:
    """Children forked while four threads make spans send their own and none of the parent's."""
    done = run(FORK, collector.url)
    assert done.returncode == 0, done.stderr
    made, codes = done.stdout.split(" ", 1)
    assert codes.strip() == str([0] * 6)
    assert collector.names == {"parent": int(made), "child": 600}
    assert max(collector.ids.values()) == 1


MULTIPROCESSING = """
    import multiprocessing, sys, tracer
    def work(number):
        with tracer.start_span("task"):
            return number
    if __name__ == "__main__":
        tracer.init("svc", collector=sys.argv[1])
        with tracer.start_span("main"):
            with multiprocessing.get_context("fork").Pool(3) as pool:
                assert sum(pool.map(work, range(30))) == 435
                pool.close()
                pool.join()
"""


def test_workers_of_a_forked_pool_send_their_spans(collector: Collector) -> None:
    """multiprocessing ends its workers without exit handlers; what they made is sent before."""
    done = run(MULTIPROCESSING, collector.url)
    assert done.returncode == 0, done.stderr
    assert collector.names == {"main": 1, "task": 30}
    assert max(collector.ids.values()) == 1


EXIT = """
    import sys, tracer
    tracer.init("svc", collector=sys.argv[1], exit_timeout_s=float(sys.argv[2]))
    for number in range(10):
        with tracer.start_span("last"):
            pass
    how = sys.argv[3]
    if how == "sys.exit":
        sys.exit(7)
    if how == "raise":
        raise RuntimeError("unhandled")
    if how == "thread":
        import threading, time
        def late():
            time.sleep(0.1)
            with tracer.start_span("late"):
                pass
        threading.Thread(target=late).start()
"""


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("sys.exit", 7), ("raise", 1)])
def test_what_is_left_is_sent_at_exit(collector: Collector, how: str, code: int) -> None:
    """At the normal end, sys.exit and an unhandled exception, with the exit status unchanged."""
    done = run(EXIT, collector.url, "5", how)
    assert done.returncode == code
    assert collector.names == {"last": 10}


def test_a_thread_that_outlives_main_is_sent_too(collector: Collector) -> None:
    """The flush at exit waits for Python to end its threads."""
    assert run(EXIT, collector.url, "5", "thread").returncode == 0
    assert collector.names == {"last": 10, "late": 1}


@pytest.mark.parametrize("kind", ["hangs", "refuses", "is slow"])
def test_exit_keeps_its_deadline(kind: str) -> None:
    """A collector that hangs or is gone delays the exit by the deadline at most; a slow one gets
    its spans."""
    collector = Collector(hang=kind == "hangs", delay_s=0.3 if kind == "is slow" else 0)
    url = collector.url if kind != "refuses" else "http://127.0.0.1:1"
    try:
        began = time.monotonic()
        done = run(EXIT, url, "1" if kind != "is slow" else "10", "end")
        took = time.monotonic() - began
        assert done.returncode == 0
        assert took < 10
        if kind == "is slow":
            assert collector.names == {"last": 10}
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 3
    finally:
        collector.close()


def test_the_exit_flush_can_be_interrupted() -> None:
    """Ctrl-C during the flush at exit ends the process at once."""
    collector = Collector(hang=True)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(EXIT), collector.url, "60", "end"],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not collector.names and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    finally:
        collector.close()


SIGTERM = """
    import signal, sys, time, tracer
    if sys.argv[2] == "handler":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    if sys.argv[2] == "ignored":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tracer.init("svc", collector=sys.argv[1], flush_on_sigterm=True, flush_interval_s=60)
    with tracer.start_span("before"):
        pass
    with tracer.start_span("open"):
        print("ready", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("before", "code", "sent"),
    [
        ("handler", 5, {"before": 1, "open": 1}),
        ("ignored", 0, {"before": 1, "open": 1}),
        ("default", -signal.SIGTERM, {"before": 1}),
    ],
)
def test_sigterm_flushes_when_asked_to(
    collector: Collector, before: str, code: int, sent: dict[str, int]
) -> None:
    """Finished spans are sent at once; what was there before ends the process, or does not. A span
    that is open still counts if it gets to its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SIGTERM), collector.url, before],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        wait_until(lambda: collector.names["before"] == 1, 20, "the span that had finished")
        process.stdin.close()  # lets a process that still runs come to its end
        assert process.wait(20) == code
    assert collector.names == sent


SIGTERM_AND_EXIT = """
    import signal, sys, time, tracer
    from exporters.flusher import Flusher
    shutdown = Flusher.shutdown
    def told(flusher, timeout_s):
        print(timeout_s)
        return shutdown(flusher, timeout_s)
    Flusher.shutdown = told
    def end(*_):
        if sys.argv[2] == "by hand":
            tracer.shutdown()
        sys.exit()
    signal.signal(signal.SIGTERM, end)
    tracer.init("svc", collector=sys.argv[1], flush_on_sigterm=True, exit_timeout_s=2)
    tracer.start_span("before").finish()
    print("ready", flush=True)
    while True:  # a signal just before a sleep does not end it
        time.sleep(0.05)
"""


@pytest.mark.parametrize("end", ["at exit", "by hand"])
def test_sigterm_and_the_exit_it_leads_to_have_one_deadline(end: str) -> None:
    """With a collector that hangs the flush at SIGTERM takes half of the exit timeout, and what it
    took is no longer there for the flush at exit."""
    collector = Collector(hang=True)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SIGTERM_AND_EXIT), collector.url, end],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert 0 < float(output) <= 1
    finally:
        process.kill()
        process.wait()
        collector.close()


SIGTERM_UNDER_A_LOCK = """
    import time, tracer
    from tracer import setup
    tracer.init("svc", collector=None, flush_on_sigterm=True, exit_timeout_s=0.2)
    tracer.start_span("before").finish()
    with setup.running().ledger._lock:  # as if the signal came while the main thread counted
        print("ready", flush=True)
        while True:
            time.sleep(0.05)
"""


def test_sigterm_ends_a_process_that_holds_a_lock() -> None:
    """A signal that interrupts the holder of one of our locks costs the deadline, no more."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SIGTERM_UNDER_A_LOCK)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        try:
            assert process.wait(20) == -signal.SIGTERM
        finally:
            process.kill()


APPLICATION = """
import os, sys
import tracer
tracer.init("server", collector=os.environ["COLLECTOR"])
with tracer.start_span("preload"):
    pass

def application(environ, start_response):
    with tracer.start_span("request"):
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


def served(
    folder: Path,
    collector: Collector,
    command: list[str],
    application: str = APPLICATION,
    ready: Callable[[], object] = lambda: True,
) -> tuple[Counter[str], str]:
    """Which worker answered how often, of a server with this application, and its output.

    The server runs until it is ``ready``, at least.
    """
    (folder / "shopapp.py").write_text(application)
    port = free_port()
    environment = {
        **os.environ,
        "COLLECTOR": collector.url,
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
    }
    output = folder / "output"
    with (
        output.open("w") as file,
        subprocess.Popen(
            [word.replace("ADDRESS", f"127.0.0.1:{port}") for word in command],
            cwd=folder,
            env=environment,
            stderr=file,
            stdout=file,
            process_group=0,
        ) as server,
    ):
        try:
            answers: list[str | None] = []
            wait_until(lambda: ask(port, answers) is not None, 20, "the server")
            wait_until(ready, 20, "what the server was to do")
            deadline = time.monotonic() + 20
            with ThreadPoolExecutor(8) as clients:
                while len({*filter(None, answers)}) < 4 and time.monotonic() < deadline:
                    list(clients.map(lambda _: ask(port, answers), range(400)))
            server.terminate()
            server.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
    return Counter(answer for answer in answers if answer), output.read_text()


def ask(port: int, answers: list[str | None]) -> str | None:
    """What the server says, which is added to ``answers``; None where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            answers.append(response.read().decode())
    except OSError:
        answers.append(None)
    return answers[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_gunicorn_workers_forked_after_init(collector: Collector, tmp_path: Path) -> None:
    """Four preloaded workers under load each send their requests; together each exactly once."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    gunicorn = [sys.executable, "-m", "gunicorn", "--preload", "-w", "4", "-b", "ADDRESS"]
    workers, output = served(
        tmp_path,
        collector,
        [*gunicorn, "--no-control-socket", "--graceful-timeout", "5", "shopapp:application"],
    )
    assert len(workers) == 4, output
    assert collector.names == {"request": workers.total(), "preload": 1}, output
    assert max(collector.ids.values()) == 1


def uwsgi() -> list[str]:
    """The command for four workers of the application, which end their requests at SIGTERM.

    Not ``--die-on-term``: that ends a worker where it is, and runs no exit handler in one that is
    still at the end of a request whose answer the client has already.
    """
    found = shutil.which("uwsgi", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("uwsgi is not installed (pip install pyuwsgi)")
    command = [found, "--http-socket", "ADDRESS", "--master", "--processes", "4"]
    gracefully = ["--hook-master-start", "unix_signal:15 gracefully_kill_them_all"]
    return [*command, *gracefully, "--disable-logging", "--need-app", "--module", "shopapp"]


@pytest.mark.parametrize(
    ("options", "preloads"),
    [
        ([], 0),
        (["--enable-threads"], 0),
        (["--enable-threads", "--threads", "2"], 0),
        (["--enable-threads", "--py-call-osafterfork"], 0),
        (["--enable-threads", "--lazy-apps"], 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_uwsgi_workers_forked_after_init(
    collector: Collector, tmp_path: Path, options: list[str], preloads: int
) -> None:
    """uWSGI forks without Python's hooks: its workers start all the same, repeat no id of each
    other, and send each request once. What its master makes stays there."""
    workers, output = served(tmp_path, collector, [*uwsgi(), *options])
    assert len(workers) == 4, output
    assert collector.names["preload"] == preloads
    assert collector.names["request"] == workers.total(), output
    assert max(collector.ids.values()) == 1


WITH_HOOKS = """
import os, sys, uwsgi
forked, spooler, message = [], lambda task: uwsgi.SPOOL_OK, lambda message: None
def post_fork_hook():
    forked.append(os.getpid())
BEFORE
import tracer
from lookout_client.registry import Registry
tracer.init("server", collector=os.environ["COLLECTOR"])
loaded = Registry().counter("loaded")
loaded.inc()
AFTER

def application(environ, start_response):
    with tracer.start_span("first"):
        pass
    kept = (uwsgi.spooler, uwsgi.mule_msg_hook) == (spooler, message)
    with tracer.start_span(f"{forked == [os.getpid()]} {kept} {loaded.value}"):
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

SETS = "uwsgi.post_fork_hook, uwsgi.spooler, uwsgi.mule_msg_hook = post_fork_hook, spooler, message"


@pytest.mark.parametrize("imported", ["", "import uwsgidecorators\n"], ids=["", "uwsgidecorators"])
@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_the_hooks_of_an_application_in_uwsgi(
    collector: Collector, tmp_path: Path, when: str, imported: str
) -> None:
    """What an application sets in uWSGI is kept and called, and its workers repeat no id of each
    other and count from zero, whether it does so before the library is set up or afterwards."""
    code = WITH_HOOKS.replace(when, imported + SETS).replace("BEFORE", "").replace("AFTER", "")
    workers, output = served(tmp_path, collector, [*uwsgi(), "--enable-threads"], code)
    assert len(workers) == 4, output
    told = workers.total()
    assert collector.names == {"first": told, "True True 0": told}, output
    assert max(collector.ids.values()) == 1


MULE = """
import os, time, uwsgi
import tracer
tracer.init("server", collector=os.environ["COLLECTOR"], flush_interval_s=0.05)
with tracer.start_span("mule"):
    pass
while True:
    time.sleep(60)
"""


def test_a_mule_of_uwsgi_sends_by_itself(collector: Collector, tmp_path: Path) -> None:
    """A process of uWSGI that is no worker, and imports the library itself, has its threads."""
    (tmp_path / "mule.py").write_text(MULE)
    application = APPLICATION.replace('with tracer.start_span("request"):', "if True:")
    command = [*uwsgi(), "--enable-threads", "--lazy-apps", f"--mule={tmp_path / 'mule.py'}"]
    served(tmp_path, collector, command, application, lambda: collector.names["mule"])
    assert collector.names["mule"] == 1
