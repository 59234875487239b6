"""Stock: an async worker. Reservations go through a queue; SQLite is asked through SQLAlchemy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, select
from sqlalchemy.pool import QueuePool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import lookout_client as lookout

from .catalogue import FLAKY, ITEMS, SLOW, SLOW_SECONDS
from .serving import serve_asgi

STOCKED = Table(
    "stock", MetaData(), Column("item", String, primary_key=True), Column("left", Integer)
)
reserved = lookout.counter("shop.reserved", keys=["item"], help="Reservations, by item.")
waiting = lookout.gauge("shop.reservations.waiting", help="Reservations in the queue.")


@dataclass
class Reservation:
    """A job in the queue: the caller's trace travels with it in ``carrier``."""

    item: str
    carrier: dict[str, str] = field(default_factory=dict)
    done: asyncio.Future[int] = field(default_factory=asyncio.Future)


class Stock:
    """What is left of each item."""

    def __init__(self) -> None:
        # The database is in memory and lives as long as its one connection, which the threads of
        # concurrent requests use one after the other.
        self._engine: Engine = create_engine(
            "sqlite://",
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={"check_same_thread": False},
        )
        STOCKED.metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(
                STOCKED.insert(), [{"item": name, "left": 1_000_000} for name in ITEMS]
            )

    @lookout.trace(name="select stock", kind=lookout.CLIENT, tags={"db.system.name": "sqlite"})
    def left(self, item: str) -> int:
        with self._engine.connect() as connection:
            return connection.execute(
                select(STOCKED.c.left).where(STOCKED.c.item == item)
            ).scalar_one()

    @lookout.trace(name="update stock", kind=lookout.CLIENT, tags={"db.system.name": "sqlite"})
    def take(self, item: str) -> int:
        with self._engine.begin() as connection:
            connection.execute(
                STOCKED.update().where(STOCKED.c.item == item).values(left=STOCKED.c.left - 1)
            )
        return self.left(item)


stock = Stock()
queue: asyncio.Queue[Reservation] = asyncio.Queue(maxsize=100)


async def work() -> None:
    """The worker: one reservation after the other, each in its sender's trace."""
    while True:
        job = await queue.get()
        waiting.set(queue.qsize())
        with lookout.start_span(
            "process reservation", kind=lookout.CONSUMER, parent=lookout.extract(job.carrier)
        ) as span:
            span.set_tag("messaging.destination.name", "reservations")
            job.done.set_result(await asyncio.to_thread(stock.take, job.item))
        reserved.inc(item=job.item)


async def count(request: Request) -> Response:
    item = request.path_params["item"]
    if item == SLOW:
        await asyncio.sleep(SLOW_SECONDS)
    return JSONResponse({"item": item, "left": await asyncio.to_thread(stock.left, item)})


async def reserve(request: Request) -> Response:
    item = request.path_params["item"]
    if item == FLAKY and request.query_params.get("try") == "1":
        return JSONResponse({"error": "try again"}, status_code=503)
    job = Reservation(item)
    with lookout.start_span("send reservation", kind=lookout.PRODUCER) as span:
        span.set_tag("messaging.destination.name", "reservations")
        lookout.inject(job.carrier)
        await queue.put(job)
    return JSONResponse({"item": item, "left": await job.done})


@asynccontextmanager
async def lifespan(app: Any) -> Any:
    worker = asyncio.create_task(work())
    yield
    worker.cancel()


def app() -> Any:
    return lookout.AsgiMiddleware(
        Starlette(
            lifespan=lifespan,
            routes=[
                Route("/stock/{item}", count),
                Route("/stock/{item}/reserve", reserve, methods=["POST"]),
                Mount("/metrics", lookout.metrics_asgi()),
            ],
        ),
        exclude=["/metrics"],
    )


if __name__ == "__main__":
    lookout.init(service_name="stock")
    serve_asgi(app())
