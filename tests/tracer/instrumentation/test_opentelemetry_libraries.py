"""Unchanged ``opentelemetry-instrumentation-*`` packages with our provider, against real peers."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporters.records import CLIENT, CONSUMER, PRODUCER, SERVER, STATUS_ERROR
from tracer.api import start_span
from tracer.opentelemetry import TracerProvider
from tracer.span import Span
from tracer.testing import Recorder

from ...kafka_broker import KafkaBroker


@contextlib.contextmanager
def instrumented(module: str, name: str, **options: Any) -> Iterator[None]:
    """One of their instrumentors, at work with our provider; skips where it is not installed."""
    package = pytest.importorskip(
        f"opentelemetry.instrumentation.{module}",
        reason=f"opentelemetry-instrumentation-{module} or what it instruments is missing",
        exc_type=ImportError,
    )
    instrumentor = getattr(package, name)()
    # Their bounds on versions lag behind the libraries'.
    instrumentor.instrument(tracer_provider=TracerProvider(), skip_dep_check=True, **options)
    try:
        yield
    finally:
        instrumentor.uninstrument()


def only(traces: Recorder, kind: int) -> Span:
    """The one span of that kind."""
    (found,) = [span for span in traces if span.kind == kind]
    return found


def tag(span: Span, *names: str) -> Any:
    """A tag by its stable or its former name."""
    return next(span.attributes[name] for name in names if name in span.attributes)


def until(condition: Any) -> None:
    """Wait for what happens on another thread."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    """Answers with the traceparent it was sent."""

    def do_GET(self) -> None:
        body = self.headers.get("traceparent", "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/"
        found.shutdown()


@pytest.mark.parametrize(
    ("library", "name"),
    [("requests", "RequestsInstrumentor"), ("httpx", "HTTPXClientInstrumentor")],
)
def test_http_clients(library: str, name: str, server: str, traces: Recorder) -> None:
    """A client span below ours, and its id in the header that arrives."""
    with instrumented(library, name), start_span("caller") as caller:
        sent = import_module(library).get(server).text
    span = only(traces, CLIENT)
    assert (span.name, span.parent_id) == ("GET", caller.span_id)
    assert sent == f"00-{span.trace_id:032x}-{span.span_id:016x}-01"
    assert tag(span, "http.response.status_code", "http.status_code") == 200


def test_flask(traces: Recorder) -> None:
    """A server span named by the route, our span inside it, over a real server."""
    flask = pytest.importorskip("flask")
    from werkzeug.serving import make_server

    with instrumented("flask", "FlaskInstrumentor"):
        app = flask.Flask("shop")

        @app.get("/items/<int:number>")  # type: ignore[untyped-decorator]
        def item(number: int) -> str:
            with start_span("inside"):
                return str(number)

        web = make_server("127.0.0.1", 0, app)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(web.handle_request)
            assert httpx.get(f"http://127.0.0.1:{web.server_port}/items/3").text == "3"
        web.server_close()
    assert traces.tree() == [("GET /items/<int:number>", [("inside", [])])]
    assert only(traces, SERVER).attributes["http.route"] == "/items/<int:number>"


def test_fastapi(traces: Recorder) -> None:
    """A server span named by the route below the caller that was sent; an error is one."""
    fastapi = pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with instrumented("fastapi", "FastAPIInstrumentor"):
        app = fastapi.FastAPI()

        @app.get("/items/{number}")  # type: ignore[untyped-decorator]
        async def item(number: int) -> int:
            if number > 9:
                raise ValueError("on purpose")
            return number

        client = TestClient(app, raise_server_exceptions=False)
        assert client.get("/items/3", headers={"traceparent": caller}).json() == 3
        assert client.get("/items/10").status_code == 500
    served, failed = [span for span in traces if span.kind == SERVER]
    assert served.name == "GET /items/{number}"
    assert (served.trace_id >> 64, served.parent_id) == (0x0AF7651916CD43DD, 0xB7AD6B7169203331)
    assert failed.status == STATUS_ERROR


def test_django(traces: Recorder) -> None:
    """A server span named by the route."""
    pytest.importorskip("django")
    from .django_site import configure

    configure()
    with instrumented("django", "DjangoInstrumentor"):
        from django.core.handlers.wsgi import WSGIHandler

        transport = httpx.WSGITransport(WSGIHandler())
        with httpx.Client(transport=transport, base_url="http://shop") as client:
            assert client.get("/items/5/").text == "item 5"
    span = only(traces, SERVER)
    assert span.name == "GET items/<int:number>/"
    assert span.attributes["http.route"] == "items/<int:number>/"


def test_sqlalchemy(traces: Recorder) -> None:
    """A client span for each statement, on SQLite."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://")
    with (
        instrumented("sqlalchemy", "SQLAlchemyInstrumentor", engine=engine),
        start_span("caller") as caller,
        engine.connect() as connection,
    ):
        assert connection.execute(sqlalchemy.text("select 41 + 1")).scalar() == 42
    statement = next(s for s in traces if s.kind == CLIENT and "select" in s.name.lower())
    assert statement.parent_id == caller.span_id
    assert tag(statement, "db.query.text", "db.statement") == "select 41 + 1"
    engine.dispose()


@pytest.fixture
def redis_socket(tmp_path: Path) -> Iterator[str]:
    """A real Redis on a socket in a directory of its own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    socket = tmp_path / "redis"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    until(socket.exists)
    yield str(socket)
    process.terminate()
    process.wait(10)


def test_redis(redis_socket: str, traces: Recorder) -> None:
    """A client span for a command and for a pipeline; the one that fails is an error."""
    redis = pytest.importorskip("redis")
    with instrumented("redis", "RedisInstrumentor"):
        client = redis.Redis(unix_socket_path=redis_socket)
        with client:
            assert client.set("a", "1")
            assert client.pipeline().incr("a").incr("a").execute() == [2, 3]
            with pytest.raises(redis.ResponseError):
                client.lpush("a", "x")
    names = [span.name for span in traces if span.kind == CLIENT]
    assert [name.split()[0] for name in names] == ["SET", "INCRBY", "LPUSH"]
    assert traces.spans[-1].status == STATUS_ERROR


def test_grpc(traces: Recorder) -> None:
    """Client and server of one call are one trace, over a real connection."""
    grpc = pytest.importorskip("grpc")

    def answer(request: bytes, context: Any) -> bytes:
        return request.upper()

    calls = {"Say": grpc.unary_unary_rpc_method_handler(answer)}
    with (
        instrumented("grpc", "GrpcInstrumentorServer"),
        start_span("caller") as caller,
    ):
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Shop", calls)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
            # Their client instrumentor heeds only the global provider; its interceptor any.
            theirs = import_module("opentelemetry.instrumentation.grpc")
            channel = theirs.intercept_channel(
                plain, theirs.client_interceptor(tracer_provider=TracerProvider())
            )
            assert channel.unary_unary("/Shop/Say")(b"hello", timeout=10) == b"HELLO"
        server.stop(None).wait(10)
    until(lambda: len(traces) == 3)
    client, served = only(traces, CLIENT), only(traces, SERVER)
    assert (client.parent_id, served.parent_id) == (caller.span_id, client.span_id)
    assert served.attributes["rpc.service"] == "Shop"


@pytest.fixture
def root_logger_kept() -> Iterator[None]:
    """A Celery worker takes the root logger over; the other tests want theirs back."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("root_logger_kept")
def test_celery(traces: Recorder) -> None:
    """Sending a task and running it are one trace, across a worker."""
    celery = pytest.importorskip("celery")
    from celery.contrib.testing.worker import start_worker

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://")

    @app.task(name="shop.add")  # type: ignore[untyped-decorator]
    def add(a: int, b: int) -> int:
        return a + b

    with (
        instrumented("celery", "CeleryInstrumentor"),
        # The level becomes that of the root logger, and stays: Python's own default.
        start_worker(app, loglevel="warning", perform_ping_check=False, shutdown_timeout=20),
        start_span("caller") as caller,
    ):
        assert add.delay(2, 3).get(timeout=20) == 5
        until(lambda: any(span.kind == CONSUMER for span in traces))
    sent, run = only(traces, PRODUCER), only(traces, CONSUMER)
    assert (sent.parent_id, run.trace_id) == (caller.span_id, caller.trace_id)
    assert run.parent_id == sent.span_id
    assert (sent.name, run.name) == ("apply_async/shop.add", "run/shop.add")


@pytest.mark.slow
async def test_aiokafka(broker: KafkaBroker, traces: Recorder) -> None:
    """Sending a message and receiving it are one trace, through a real broker."""
    aiokafka = pytest.importorskip("aiokafka")
    with instrumented("aiokafka", "AIOKafkaInstrumentor"):
        with start_span("caller") as caller:
            async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
                await producer.send_and_wait("orders", b"one")
        async with aiokafka.AIOKafkaConsumer(
            "orders", bootstrap_servers=broker.address, auto_offset_reset="earliest"
        ) as consumer:
            assert (await consumer.getone()).value == b"one"
    sent, received = only(traces, PRODUCER), only(traces, CONSUMER)
    assert sent.parent_id == caller.span_id
    linked = [link.span_id for link in received.links or ()]
    assert sent.span_id in (received.parent_id, *linked)
