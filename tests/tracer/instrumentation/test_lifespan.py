"""What an ASGI server's last seconds leave behind."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cramjam
import httpx
import pytest

import tracer
from examples.processes import Child
from exporters.destination import Deadline, LocalDestination
from tracer.instrumentation import lifespan
from tracer.instrumentation.asgi import AsgiMiddleware

APP = """
import sys
import uvicorn
import tracer
from exporters.destination import LocalDestination
from tracer.instrumentation.asgi import AsgiMiddleware

class Lines(LocalDestination):
    name = "lines"
    def accept(self, records):
        with open(sys.argv[2], "a") as out:
            out.writelines(record.name + "\\n" for record in records)
        self._done(len(records))

# Nothing but the end of the server makes this flusher hurry.
tracer.init("app", collector=None, destinations=[Lines()], flush_interval_s=3600.0)

async def bare(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def answer(request):
    return PlainTextResponse("ok")

apps = {"bare": bare, "starlette": Starlette(routes=[Route("/", answer)])}
uvicorn.run(AsgiMiddleware(apps[sys.argv[1]]), port=0)
"""


@pytest.mark.parametrize(("kind", "name"), [("bare", "GET"), ("starlette", "GET /")])
def test_uvicorn_ended_by_sigterm_loses_no_span(tmp_path: Path, kind: str, name: str) -> None:
    """Applications with and without lifespan: every request's span is written before the end."""
    (tmp_path / "app.py").write_text(APP)
    out = tmp_path / "spans"
    child = Child("app", [str(tmp_path / "app.py"), kind, str(out)], {"PYTHONPATH": _root()})
    url = child.wait_ready()
    with httpx.Client() as client:
        for _ in range(20):
            assert client.get(url).text == "ok"
    child.stop()
    assert out.read_text().splitlines() == [name] * 20


def _root() -> str:
    return str(Path(__file__).parents[3])


async def _speak(app: Any) -> list[str]:
    """Startup and shutdown against ``app``; what it answered."""
    asked = iter(["lifespan.startup", "lifespan.shutdown"])
    answers: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(asked)}

    async def send(message: Any) -> None:
        answers.append(message["type"])

    await AsgiMiddleware(app)({"type": "lifespan"}, receive, send)
    return answers


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each flush."""
    found: list[str] = []

    async def flush() -> None:
        found.append("flush")

    monkeypatch.setattr(lifespan, "flush", flush)
    return found


async def test_a_startup_that_fails_is_the_applications_own(flushed: list[str]) -> None:
    """What the application said and raised reaches the server; there is nothing to flush."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        await _speak(app)
    assert flushed == []


async def test_a_shutdown_that_fails_is_flushed_all_the_same(flushed: list[str]) -> None:
    """The application may fail at its end; its spans are sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "late"})

    assert await _speak(app) == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    assert flushed == ["flush"]


async def test_an_application_that_ignores_lifespan_is_answered_for(flushed: list[str]) -> None:
    """Returning at once is how some applications say that they have none."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        return None

    assert await _speak(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert flushed == ["flush"]


class Stuck(LocalDestination):
    """Sends nothing for as long as it is given."""

    name = "stuck"
    left_at_exit = -1.0

    def flush(self, deadline: Deadline) -> bool:
        threading.Event().wait(deadline.left())
        return False

    def shutdown(self, deadline: Deadline) -> bool:
        self.left_at_exit = deadline.left()
        return True


async def test_the_shutdown_of_a_server_and_the_exit_have_one_deadline() -> None:
    """What the flush at shutdown took is no longer there for the flush at exit."""
    stuck = Stuck()
    tracer.init("app", collector=None, destinations=[stuck], exit_timeout_s=1.0)
    try:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            return None

        await _speak(app)
    finally:
        tracer.shutdown()
    assert 0 <= stuck.left_at_exit <= 0.1


METRICS = """
import sys
import uvicorn
import lookout_client as lookout

lookout.init("app", collector=sys.argv[1], metrics_interval_s=3600, flush_interval_s=3600.0)

async def bare(scope, receive, send):
    if scope["type"] != "http":
        return
    lookout.counter("answers").inc()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

uvicorn.run(lookout.AsgiMiddleware(bare), port=0)
"""


class Collector(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    posted: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.headers.get("Content-Encoding"):
            case "gzip":
                body = gzip.decompress(body)
            case "zstd":
                body = bytes(cramjam.zstd.decompress(body))
        self.posted.append((self.path, body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_uvicorn_ended_by_sigterm_sends_spans_and_metrics(tmp_path: Path) -> None:
    """What was counted since the last push arrives too."""
    (tmp_path / "app.py").write_text(METRICS)
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}"
        child = Child("app", [str(tmp_path / "app.py"), url], {"PYTHONPATH": _root()})
        assert httpx.get(child.wait_ready()).text == "ok"
        child.stop()
        collector.shutdown()
    assert "/api/v2/spans" in [path for path, _ in Collector.posted]
    assert any(b"answers" in body for path, body in Collector.posted if path == "/v1/metrics")
