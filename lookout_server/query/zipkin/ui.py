"""Zipkin's own web page (Lens) under ``/zipkin/``, from a folder or from its jar.

Routes, base path and caching are those of Zipkin's server. Without the page, ``/zipkin/`` says how
to get it.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ...config import ServerConfig
from ...server import Server

_JAR_FOLDER = "zipkin-lens/"
_PAGE_AGE, _CONFIG_AGE, _FILE_AGE = 60, 600, 31_536_000  # seconds
_COMPRESS_FROM = 2048  # bytes
_COMPRESSIBLE = ("text/", "application/json", "application/javascript", "image/svg")
_PAGES = ("", "index.html", "traces/{trace_id}", "dependency", "traceViewer")


class UiMissing(ValueError):
    """The path given holds no Zipkin UI; the text says what was expected."""


class Files(Protocol):
    """Where the page's files are."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None."""


class FolderFiles:
    """A folder, as ``npm run build`` of zipkin-lens leaves it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def read(self, name: str) -> bytes | None:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            return None
        return path.read_bytes()


class JarFiles:
    """The jar io.zipkin:zipkin-lens, which is a zip."""

    def __init__(self, jar: Path) -> None:
        with zipfile.ZipFile(jar) as archive:
            self._files = {
                name.removeprefix(_JAR_FOLDER): archive.read(name)
                for name in archive.namelist()
                if name.startswith(_JAR_FOLDER) and not name.endswith("/")
            }

    def read(self, name: str) -> bytes | None:
        return self._files.get(name)


def open_files(path: Path) -> Files:
    """The UI at a path. Raises UiMissing."""
    files: Files
    if path.is_dir():
        files = FolderFiles(path)
    elif zipfile.is_zipfile(path):
        files = JarFiles(path)
    else:
        raise UiMissing(f"{path} is neither a folder nor a jar of the Zipkin UI")
    if files.read("index.html") is None:
        raise UiMissing(f"{path} has no index.html of the Zipkin UI")
    return files


def with_base_path(index: bytes, base_path: str) -> bytes:
    """The page as it must be to live below another path."""
    if base_path == "/zipkin":
        return index
    base = base_path if base_path.endswith("/") else f"{base_path}/"
    text = index.decode().replace('="/zipkin', '=".')
    return text.replace('<base href="./"', f'<base href="{base}"').encode()


def default_path(config: ServerConfig) -> Path | None:
    """The UI to serve: the one configured, else the one that ``lookout ui fetch`` left."""
    if config.zipkin_ui is not None:
        return config.zipkin_ui
    fetched = config.data_dir / "zipkin-lens.jar"
    return fetched if fetched.exists() else None


def config_json(config: ServerConfig) -> dict[str, Any]:
    """What the page asks for first."""
    return {
        "environment": "",
        "queryLimit": 10,
        "defaultLookback": 900_000,
        "searchEnabled": config.search_enabled,
        "logsUrl": None,
        "supportUrl": None,
        "archivePostUrl": None,
        "archiveUrl": None,
        "dependency": {"enabled": True, "lowErrorRate": 0.5, "highErrorRate": 0.75},
    }


def ui_routes(server: Server) -> list[BaseRoute]:
    """The page and its configuration. Raises UiMissing for a configured path without it."""
    config = server.config
    settings = _Resource(
        _pretty(config_json(config)), "application/json; charset=utf-8", _CONFIG_AGE
    )
    routes: list[BaseRoute] = [
        Route(path, settings.answer, methods=["GET"])
        for path in ("/config.json", "/zipkin/config.json")
    ]
    routes.append(Route("/zipkin", _redirect("/zipkin/"), methods=["GET"]))
    path = default_path(config)
    if path is None:
        return [*routes, Route("/zipkin/", _explain, methods=["GET"])]
    files = open_files(path)
    index = files.read("index.html") or b""
    page = _Resource(
        with_base_path(index, config.zipkin_ui_basepath), "text/html; charset=utf-8", _PAGE_AGE
    )
    routes += [Route(f"/zipkin/{name}", page.answer, methods=["GET"]) for name in _PAGES]
    routes.append(Route("/favicon.ico", _redirect("/zipkin/favicon.ico"), methods=["GET"]))
    routes.append(Route("/zipkin/{name:path}", _Static(files).answer, methods=["GET"]))
    return routes


@dataclass(frozen=True)
class _Resource:
    """Bytes to serve, with their validator and compressed form."""

    body: bytes
    media_type: str
    max_age: int

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        small = len(self.body) < _COMPRESS_FROM
        if small or not self.media_type.startswith(_COMPRESSIBLE):
            return None
        return gzip.compress(self.body, mtime=0)

    async def answer(self, request: Request) -> Response:
        headers = {"ETag": self.etag, "Cache-Control": f"max-age={self.max_age}"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("accept-encoding", "") and self.compressed:
            body = self.compressed
            headers["Content-Encoding"] = "gzip"
        if self.compressed:
            headers["Vary"] = "Accept-Encoding"
        return Response(body, media_type=self.media_type, headers=headers)


class _Static:
    """The other files of the page."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, _Resource] = {}

    async def answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._known:
            body = self._files.read(name)
            if body is None:
                return Response("Not Found", 404, media_type="text/plain")
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self._known[name] = _Resource(body, kind, _FILE_AGE)
        return await self._known[name].answer(request)


def _redirect(to: str) -> Any:
    async def redirect(request: Request) -> Response:
        return RedirectResponse(to, 302)

    return redirect


async def _explain(request: Request) -> Response:
    return HTMLResponse(_HOW_TO)


_HOW_TO = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Zipkin UI</title></head><body>
<h1>The Zipkin UI is not installed</h1>
<p>The API is here and answers: <a href="/zipkin/api/v2/services">/zipkin/api/v2/services</a>.
To have Zipkin's own page as well, do one of these and start the collector again:</p>
<ul>
<li><code>lookout ui fetch --data-dir DIR</code> gets the jar <code>io.zipkin:zipkin-lens</code>
from Maven Central with Maven, and checks it;</li>
<li><code>lookout serve --zipkin-ui PATH</code> serves a folder or a zipkin-lens jar you have.
</li></ul>
<p>Lookout's own page is at <a href="/">/</a>.</p>
</body></html>
"""


def _pretty(value: Any) -> bytes:
    """JSON laid out as Zipkin lays it out."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).replace(b'": ', b'" : ')
