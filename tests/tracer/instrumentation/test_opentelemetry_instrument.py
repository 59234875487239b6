"""``opentelemetry-instrument`` on applications that know nothing of tracing, into a collector."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.processes import Child, wait_until

pytest.importorskip("opentelemetry.instrumentation", reason="opentelemetry-instrumentation")

FLASK = """
import requests
from flask import Flask

app = Flask(__name__)

@app.get("/orders/<int:number>")
def order(number):
    return {"order": number}

@app.get("/relay/<path:url>")
def relay(url):
    return requests.get(url).text
"""

FASTAPI = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/items/{number}")
async def item(number: int):
    return {"item": number}
"""

SCRIPT = Path(sys.executable).parent / "opentelemetry-instrument"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """``lookout serve`` on a port of its own."""
    data = tmp_path_factory.mktemp("collector")
    serve = ["-m", "lookout_server", "serve", "--data-dir", str(data), "--listen", "127.0.0.1:0"]
    child = Child("collector", serve, {})
    child.wait_ready()
    yield child
    child.stop()


def _start(collector: Child, folder: Path, name: str, code: str, *command: str) -> Child:
    (folder / f"{name}_app.py").write_text(code)
    environment = {
        "OTEL_PYTHON_DISTRO": "lookout",
        "OTEL_PYTHON_CONFIGURATOR": "lookout",
        "OTEL_SERVICE_NAME": name,
        # Its handler on the root logger keeps Flask from printing where it listens.
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
        "LOOKOUT_COLLECTOR": collector.url,
        "PYTHONPATH": str(folder),
        "PATH": f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}",
    }
    return Child(name, [str(SCRIPT), *command], environment)


def _traces(collector: Child, service: str) -> list[list[dict[str, Any]]]:
    answer = httpx.get(f"{collector.url}/api/v2/traces", params={"serviceName": service})
    found: list[list[dict[str, Any]]] = answer.raise_for_status().json()
    return found


@pytest.mark.slow
def test_flask_and_fastapi_unmodified(collector: Child, tmp_path: Path) -> None:
    """Flask calls FastAPI by requests: one trace of three spans over two services, stored."""
    fast = _start(collector, tmp_path, "fast", FASTAPI,
                  "uvicorn", "fast_app:app", "--port", "0")  # fmt: skip
    flask = _start(collector, tmp_path, "flask", FLASK,
                   "flask", "--app", "flask_app", "run", "--port", "0")  # fmt: skip
    try:
        flask.wait_ready()
        fast.wait_ready()
        assert httpx.get(f"{flask.url}/orders/7").json() == {"order": 7}
        assert httpx.get(f"{flask.url}/relay/{fast.url}/items/5").json() == {"item": 5}
    finally:
        # At once: what was not sent yet has to be sent at the end.
        for app in (flask, fast):
            app.stop()
    wait_until(lambda: len(_traces(collector, "flask")) == 2, 20, "both traces")
    trace = max(_traces(collector, "flask"), key=len)
    by_kind = {(span["localEndpoint"]["serviceName"], span.get("kind")): span for span in trace}
    server = by_kind["flask", "SERVER"]
    client = by_kind["flask", "CLIENT"]
    remote = by_kind["fast", "SERVER"]
    assert "parentId" not in server
    assert (client["parentId"], remote["parentId"]) == (server["id"], client["id"])
    # The collector's names are lower-case, as Zipkin's are.
    assert server["name"].lower() == "get /relay/<path:url>"
    assert remote["name"].lower() == "get /items/{number}"
