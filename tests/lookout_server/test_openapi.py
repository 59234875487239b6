"""The document of the HTTP API, held against the routes and against a collector."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from starlette.routing import Route

from lookout_server.app import application
from lookout_server.config import ServerConfig
from lookout_server.openapi import document

from .zipkin.running import serving

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis, of the extra dev, is not installed"
)

#: What Starlette adds to every GET.
_IMPLIED = {"HEAD", "OPTIONS"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API as a collector describes it, which takes this module's requests."""
    with serving(tmp_path_factory.mktemp("openapi"), multitenancy=False) as url:
        yield schemathesis.openapi.from_url(url + "/openapi.json")


def _documented() -> set[tuple[str, str]]:
    verbs = {"get", "post", "put", "delete", "patch"}
    return {
        (path, verb.upper())
        for path, item in document()["paths"].items()
        for verb in item
        if verb in verbs
    }


def test_every_route_is_documented(routes: list[Route]) -> None:
    """Nothing is served that the document does not have, and it has nothing that is not served."""
    served = {
        (_template(route.path), method)
        for route in routes
        for method in route.methods or {"GET"}
        if method not in _IMPLIED
    }
    assert served == _documented()


def _template(path: str) -> str:
    path = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
    return re.sub(r"^/ui/.+", "/ui/{file}", path)


@pytest.fixture
def routes(tmp_path: Path) -> list[Route]:
    """The routes of a collector with its defaults."""
    made: Any = application(_Parts(tmp_path))  # type: ignore[arg-type]
    return [route for route in made.routes if isinstance(route, Route)]


class _Parts:
    """What making routes needs of a collector."""

    def __init__(self, data_dir: Path) -> None:
        self.config = ServerConfig(data_dir=data_dir)

    def __getattr__(self, name: str) -> Any:
        return None


def test_references_resolve() -> None:
    """Everything a route refers to is in the document, and everything there is referred to."""
    text = json.dumps(document())
    asked = set(re.findall(r'"#/components/(\w+)/(\w+)"', text))
    components = document()["components"]
    there = {
        (kind, name)
        for kind in ("parameters", "responses", "requestBodies")
        for name in components[kind]
    }
    assert asked == there


def test_any_request(api: Any) -> None:
    """Whatever is asked is answered with a documented status, and never with a failure of ours."""
    for operation in api.get_all_operations():
        _ask_anything(operation.ok())


def _as_bytes(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


schemathesis.serializer(
    "application/x-thrift",
    "application/vnd.apache.thrift.binary",
    "application/x-protobuf",
    "application/x-ndjson",
)(_as_bytes)


def _ask_anything(operation: Any) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=6,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        response = case.call()
        documented = operation.definition.raw["responses"]
        assert str(response.status_code) in documented, (case.as_curl_command(), response.text)
        if "500" not in documented:
            assert response.status_code < 500, (case.as_curl_command(), response.text)

    ask()
