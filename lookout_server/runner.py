"""Runs the collector under uvicorn: one worker, timed connections, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from functools import partial

import uvicorn

from .app import application, services
from .collector import Collector
from .protocol import TimedProtocol
from .server import Service

log = logging.getLogger("lookout")

#: Seconds an idle connection stays open: longer than clients keep theirs (most 5 to 60 s), so that
#: none sends a request on a connection that is being closed.
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    """Says when it is ready, and exits 0 after SIGTERM instead of dying of it."""

    def __init__(
        self,
        config: uvicorn.Config,
        address: str,
        services: Sequence[Service],
        handshake_timeout: float,
    ) -> None:
        super().__init__(config)
        self._address = address
        self._services = services
        self._handshake_timeout = handshake_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        for service in self._services:
            await service.start()
        with self._impatient_handshakes():
            await super().startup(sockets)
        print(f"lookout is ready on {self._address}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for service in self._services:
            await service.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def _impatient_handshakes(self) -> Iterator[None]:
        """asyncio gives a client that says nothing a minute, and uvicorn cannot tell it less."""
        loop = asyncio.get_running_loop()
        if self.config.ssl is not None:
            create = partial(loop.create_server, ssl_handshake_timeout=self._handshake_timeout)
            loop.create_server = create  # type: ignore[method-assign]
        try:
            yield
        finally:
            loop.__dict__.pop("create_server", None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(collector: Collector, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; then finish requests, write what waits, and return."""
    config = collector.config

    class Protocol(TimedProtocol):
        connections_max = config.connections_max
        head_timeout = config.body_timeout

    options = uvicorn.Config(
        application(collector),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(config.drain_timeout)),
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
        ssl_ca_certs=str(config.tls_client_ca) if config.tls_client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if config.tls_client_ca else ssl.CERT_NONE,
    )
    # Below are its greetings, and a line for each request that is no HTTP.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    options.load()  # reads the certificate
    address = _address(listening, "https" if config.tls_cert else "http")
    server = _Server(options, address, services(collector), config.tls_handshake_timeout)
    _spare_the_garbage_collector()
    collector.start()
    try:
        server.run(sockets=[listening])
    finally:
        if not collector.stop():
            log.warning("not everything is stored yet; the journal has the rest")


def _spare_the_garbage_collector() -> None:
    """Look for cycles among new objects only, and less often: a body is a thousand of them.

    What the start made stays until the end. Nothing on a span's way makes cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _address(listening: socket.socket, scheme: str) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
