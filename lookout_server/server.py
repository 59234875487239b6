"""The collector's parts as the protocol modules see them. Wiring is in :mod:`.app`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import pyarrow as pa
from starlette.requests import Request

from .config import ServerConfig
from .signal import Receipt, Rows
from .store.port import Limits, Store

#: What a bearer token may allow.
Right = Literal["read", "write", "admin"]


class Intake(Protocol):
    """Where bodies become durable."""

    async def accept(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Rows:
        """Decode, journal, hand to the writer; returns once the body survives kill -9.

        Raises Malformed (answer 400) or Overloaded (answer its status with Retry-After).
        """


class Service(Protocol):
    """Something that runs beside the HTTP API: a gRPC port, a Kafka consumer, a scraper.

    A module of the collector's table may export ``services(server) -> list[Service]``.
    """

    async def start(self) -> None:
        """Begin, on the event loop. OSError or ValueError ends the collector with their text."""

    async def stop(self) -> None:
        """End: take nothing more, have what was taken accepted or given back."""


class Server(Protocol):
    """What a module with routes may use: ``routes(server) -> list[BaseRoute]``."""

    config: ServerConfig
    store: Store
    intake: Intake

    def tenant(self, request: Request) -> str:
        """The request's tenant, already checked by the middleware."""

    def authorize(self, headers: Mapping[str, str], right: Right) -> str:
        """The tenant of a request that did not come over HTTP (header names in lower case).

        Raises Refused (400, 401 or 403) as the middleware would.
        """

    async def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> pa.Table:
        """:meth:`Store.fetch` on a reader thread; cancelled with the request."""

    def observe_stored(self, signal: str, observer: Callable[[Sequence[Any]], None]) -> None:
        """Have ``observer`` called with the pieces of each batch that was stored.

        On the writer's thread: it must be quick, and what it raises is logged.
        """

    async def settle(self, signal: str, *, patient: bool = False) -> bool:
        """Read your writes: have what was accepted before this call written.

        Cheap when nothing waits. Under heavy ingest it returns at once, and reads are at most
        one batch (1 s) behind; who is patient waits for that batch. True when there was a wait.
        """
