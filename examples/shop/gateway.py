"""Gateway: the shop's front door, on Starlette. It fans out to stock and hands on to orders."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import lookout_client as lookout

from .catalogue import ITEMS
from .serving import serve_asgi

ORDERS_URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:8002")
STOCK_URL = os.environ.get("STOCK_URL", "http://127.0.0.1:8003")

http = httpx.AsyncClient(timeout=10)


@lookout.trace(name="ask stock")
async def left(item: str) -> int:
    reply = await http.get(f"{STOCK_URL}/stock/{item}")
    return int(reply.json()["left"])


async def browse(request: Request) -> Response:
    """All items at once: one call to stock for each."""
    counts = await asyncio.gather(*(left(name) for name in ITEMS))
    return JSONResponse(dict(zip(ITEMS, counts, strict=True)))


async def checkout(request: Request) -> Response:
    item = request.path_params["item"]
    lookout.current_span().set_tag("shop.item", item)
    reply = await http.post(f"{ORDERS_URL}/orders/{item}")
    return JSONResponse(reply.json(), status_code=reply.status_code)


async def crash(request: Request) -> Response:
    raise RuntimeError("this page is broken on purpose")


def app() -> Any:
    return lookout.AsgiMiddleware(
        Starlette(
            routes=[
                Route("/browse", browse),
                Route("/checkout/{item}", checkout, methods=["POST"]),
                Route("/crash", crash),
                Mount("/metrics", lookout.metrics_asgi()),
            ]
        ),
        exclude=["/metrics"],
    )


if __name__ == "__main__":
    lookout.init(service_name="gateway", instrument=["httpx"])
    serve_asgi(app())
