"""Serve on a free port (or ``PORT``), print the address, stop cleanly on SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any

import uvicorn
from werkzeug.serving import WSGIRequestHandler, make_server

import lookout_client as lookout


def listening_socket() -> socket.socket:
    """Bound before the server starts, so that the address printed is the real one."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    return bound


def announce(bound: socket.socket) -> None:
    uid = lookout.ledger().get("process", "")
    print(f"listening on http://127.0.0.1:{bound.getsockname()[1]} as process {uid}", flush=True)


def serve_asgi(app: Any) -> None:
    bound = listening_socket()
    bound.listen(128)
    announce(bound)
    # uvicorn raises the signal that stopped it once more when it is done. Ignored here, because
    # there is something left to do: the last spans and metrics are sent.
    signal.signal(signal.SIGTERM, lambda *_: None)
    # Idle connections stay open longer than httpx keeps them (5 s): a client that sends on one that
    # the server closes at that moment gets no answer.
    config = uvicorn.Config(app, log_level="critical", lifespan="on", timeout_keep_alive=30)
    uvicorn.Server(config).run(sockets=[bound])
    lookout.shutdown(5)


class QuietHandler(WSGIRequestHandler):
    """werkzeug prints a line for every request; the digest log has them already."""

    protocol_version = "HTTP/1.1"

    def log(self, *args: object) -> None:
        """Say nothing."""


def serve_wsgi(app: Any) -> None:
    bound = listening_socket()
    bound.listen(128)
    host, port = bound.getsockname()
    server = make_server(
        host, port, app, threaded=True, fd=bound.fileno(), request_handler=QuietHandler
    )

    def stop(*_: object) -> None:
        # shutdown() waits for the loop that this signal interrupted: it needs another thread.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    announce(bound)
    server.serve_forever()
    lookout.shutdown(5)
