"""The scrape under WSGI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..default import REGISTRY
from ..registry import Registry
from .negotiation import Exposition

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def metrics_wsgi(
    app: WSGIApplication | None = None,
    *,
    path: str = "/metrics",
    registry: Registry | None = None,
) -> WSGIApplication:
    """The metrics of ``registry`` at ``path``, and ``app`` everywhere else.

    Without ``app`` every path answers the metrics, to be mounted by a framework.
    """
    exposition = Exposition(registry if registry is not None else REGISTRY)

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if app is not None and environ.get("PATH_INFO", "") != path:
            return app(environ, start_response)
        answer = exposition.answer(
            environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", "")
        )
        start_response("200 OK", answer.headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [answer.body]

    return serve
