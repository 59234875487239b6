"""The route template a framework matched: the only part of a path that may name a span."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

#: Where an application that knows its route may say so, in the ASGI scope or the WSGI environ.
ROUTE = "lookout.route"


def asgi_route(scope: MutableMapping[str, Any]) -> str | None:
    """Template of Starlette, FastAPI, Litestar, or what was said; None where unknown."""
    try:
        return scope.get(ROUTE) or _from_scope(scope) or _from_routes(scope)
    except Exception:
        return None


def _from_scope(scope: MutableMapping[str, Any]) -> str | None:
    route = scope.get("route")
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    if isinstance(template, str):
        return _under(scope, template)
    path_template = scope.get("path_template")  # Litestar
    return path_template if isinstance(path_template, str) else None


def _under(scope: MutableMapping[str, Any], template: str) -> str:
    """Mounted applications match the rest of the path: the mount's own path goes in front."""
    root = scope.get("app_root_path")
    outer = scope.get("root_path", "")
    mounted = outer[len(root) :] if isinstance(root, str) and outer.startswith(root) else ""
    return f"{mounted}{template}"


def _from_routes(scope: MutableMapping[str, Any]) -> str | None:
    """Starlette says only which endpoint ran: ask its routes which of them matches fully."""
    app = scope.get("app")
    if app is None or "endpoint" not in scope:
        return None
    probe = {**scope, "root_path": scope.get("app_root_path", "")}
    return _search(getattr(app, "routes", ()), probe)


def _search(routes: Any, scope: dict[str, Any]) -> str | None:
    for route in routes:
        match, child = route.matches(scope)
        if getattr(match, "value", 0) != 2:  # starlette.routing.Match.FULL
            continue
        path = str(getattr(route, "path_format", None) or getattr(route, "path", ""))
        below = getattr(route, "routes", None)
        if below:
            inner = _search(below, {**scope, **child})
            return f"{path.removesuffix('/{path}')}{inner}" if inner else path
        return path
    return None


def wsgi_route(environ: Mapping[str, Any]) -> str | None:
    """Template of the Flask (Werkzeug) rule that matched, or what was said; None where unknown."""
    said = environ.get(ROUTE)
    if isinstance(said, str):
        return said
    request = environ.get("werkzeug.request")
    rule = getattr(getattr(request, "url_rule", None), "rule", None)
    return rule if isinstance(rule, str) else None
