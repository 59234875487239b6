"""The scrape inside ASGI and WSGI applications."""

from __future__ import annotations

import io
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from lookout_client import Registry
from lookout_client.scrape import metrics_asgi, metrics_wsgi

PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.counter("c").inc(3)
    return registry


async def home(request: Any) -> PlainTextResponse:
    return PlainTextResponse("home")


def test_mounted_in_an_asgi_application(registry: Registry) -> None:
    """`Mount("/metrics", metrics_asgi())` answers, the application's routes stay its own."""
    routes = [Route("/", home), Mount("/metrics", metrics_asgi(registry=registry))]
    client = TestClient(Starlette(routes=routes))
    answer = client.get("/metrics")
    assert "c_total 3" in answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert client.get("/").text == "home"
    assert client.head("/metrics").content == b""


def test_around_an_asgi_application(registry: Registry) -> None:
    """`metrics_asgi(app)` takes one path and hands everything else on, lifespan included."""
    app = metrics_asgi(Starlette(routes=[Route("/", home)]), path="/m", registry=registry)
    with TestClient(app) as client:
        assert "c_total 3" in client.get("/m").text
        assert client.get("/").text == "home"
        assert client.get("/metrics").status_code == 404
    with TestClient(metrics_asgi(registry=registry)) as client:  # served on its own
        assert "c_total 3" in client.get("/anything").text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("nonsense;;q=x,", "text/plain; version=0.0.4"),
        ("application/json", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics"),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", "text/plain"),
        (f"{PROTOBUF};q=0.7,text/plain;q=0.3", "application/vnd.google.protobuf"),
        ("application/vnd.google.protobuf;encoding=text;q=0.7,text/plain;q=0.3", "text/plain"),
    ],
)
def test_the_client_chooses_the_format(registry: Registry, accept: str, content_type: str) -> None:
    """The heaviest weight that can be served; text for whatever cannot be understood."""
    client = TestClient(metrics_asgi(registry=registry))
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(content_type)


def call(app: Any, path: str, method: str = "GET") -> tuple[str, bytes]:
    statuses: list[str] = []
    environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "wsgi.input": io.BytesIO()}
    body = b"".join(app(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], body


def test_around_a_wsgi_application(registry: Registry) -> None:
    """One path is ours, the others are the application's; without one all are ours."""

    def inner(environ: Any, start_response: Any) -> list[bytes]:
        start_response("418 Teapot", [])
        return [b"inner"]

    app = metrics_wsgi(inner, registry=registry)
    assert call(app, "/") == ("418 Teapot", b"inner")
    status, body = call(app, "/metrics")
    assert status == "200 OK" and b"c_total 3" in body
    assert call(app, "/metrics", "HEAD")[1] == b""
    assert b"c_total 3" in call(metrics_wsgi(registry=registry), "/")[1]
