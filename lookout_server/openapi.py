"""``GET /openapi.json``: the collector's HTTP API as a document, for people and generators."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

PATH = "/openapi.json"


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, from ``openapi.yaml``, where routes share what is the same."""
    import yaml  # loaded when somebody asks

    text = files(__package__).joinpath("openapi.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return {name: value for name, value in loaded.items() if not name.startswith("x-")}


def openapi_routes() -> list[BaseRoute]:
    """The route of the document."""

    async def openapi(request: Request) -> Response:
        return Response(json.dumps(document()), media_type="application/json")

    return [Route(PATH, openapi, methods=["GET"])]
