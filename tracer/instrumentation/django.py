"""The route template of a Django view, for the span that the WSGI or ASGI middleware makes.

MIDDLEWARE = ["tracer.instrumentation.django.RouteMiddleware", ...]
application = WsgiMiddleware(get_wsgi_application())
"""

from __future__ import annotations

from typing import Any

from django.utils.deprecation import MiddlewareMixin

from .routes import ROUTE


class RouteMiddleware(MiddlewareMixin):  # type: ignore[misc]  # Django is untyped
    """Says which route matched. Works in synchronous and asynchronous projects."""

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        """Called by Django once the URL is resolved."""
        template = getattr(request.resolver_match, "route", None)
        if template is None:
            return
        route = f"/{template.removeprefix('^').removeprefix('/')}"
        # request.META is the WSGI environ itself; an ASGI request has the scope.
        getattr(request, "scope", request.META)[ROUTE] = route
