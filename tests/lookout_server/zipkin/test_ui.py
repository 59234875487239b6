"""Zipkin's page: found in a folder or a jar, with its routes, base path, caching; or explained."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookout_server.config import load
from lookout_server.query.zipkin.ui import UiMissing, open_files, with_base_path
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector

INDEX = '<head><base href="/zipkin/" ><script src="/zipkin/static/js/a.js"></script></head>'
SCRIPT = "x" * 3000


def jar(folder: Path) -> Path:
    """What the jar from Maven Central holds, in small."""
    path = folder / "lens.jar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "")
        archive.writestr("zipkin-lens/index.html", INDEX)
        archive.writestr("zipkin-lens/static/js/a.js", SCRIPT)
    return path


def folder(where: Path) -> Path:
    path = where / "build"
    (path / "static" / "js").mkdir(parents=True)
    (path / "index.html").write_text(INDEX)
    (path / "static" / "js" / "a.js").write_text(SCRIPT)
    (where / "secret").write_text("no page")
    return path


def client(store: EmbeddedStore, **flags: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(PlainCollector(store, load(**flags)).app())
    return httpx.AsyncClient(transport=transport, base_url="http://collector")


@pytest.mark.parametrize("make", [jar, folder])
async def test_serves_the_page(store: EmbeddedStore, tmp_path: Path, make: Any) -> None:
    """The page's own routes all give the page; its files are served compressed and for long."""
    async with client(store, zipkin_ui=make(tmp_path)) as asked:
        for path in ("", "index.html", "traces/1", "dependency", "traceViewer"):
            answer = await asked.get(f"/zipkin/{path}")
            assert (answer.text, answer.headers["cache-control"]) == (INDEX, "max-age=60")
        answer = await asked.get("/zipkin/static/js/a.js", headers={"Accept-Encoding": "gzip"})
        assert (answer.text, answer.headers["content-encoding"]) == (SCRIPT, "gzip")
        assert answer.headers["cache-control"] == "max-age=31536000"
        same = {"If-None-Match": answer.headers["etag"]}
        assert (await asked.get("/zipkin/static/js/a.js", headers=same)).status_code == 304
        for path in ("nothing.js", "../secret", "%2e%2e/secret", "static"):
            assert (await asked.get(f"/zipkin/{path}")).status_code == 404
        for path, to in (("/zipkin", "/zipkin/"), ("/favicon.ico", "/zipkin/favicon.ico")):
            answer = await asked.get(path)
            assert (answer.status_code, answer.headers["location"]) == (302, to)
        assert (await asked.get("/zipkin/api/v2/services")).json() == []


async def test_explains_how_to_get_the_page(store: EmbeddedStore, tmp_path: Path) -> None:
    """Without the page, /zipkin/ says which command gets it, and the API is there."""
    async with client(store, data_dir=tmp_path) as asked:
        answer = await asked.get("/zipkin/")
        assert (answer.status_code, "lookout ui fetch" in answer.text) == (200, True)
        assert (await asked.get("/zipkin/api/v2/services")).json() == []


@pytest.mark.parametrize(
    ("base_path", "tag", "script"),
    [
        ("/zipkin", '<base href="/zipkin/"', '"/zipkin/static'),
        ("/admin/zipkin", '<base href="/admin/zipkin/"', '"./static'),
        ("/", '<base href="/"', '"./static'),
    ],
)
def test_base_path(base_path: str, tag: str, script: str) -> None:
    """Behind a proxy at another path the page finds its files and the API below that path."""
    page = with_base_path(INDEX.encode(), base_path).decode()
    assert tag in page and script in page


def test_says_what_is_no_page(tmp_path: Path) -> None:
    """A path without the page is refused with what was expected."""
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UiMissing, match="neither a folder nor a jar"):
        open_files(tmp_path / "x.txt")
    with pytest.raises(UiMissing, match=r"no index\.html"):
        open_files(tmp_path)


async def test_config_json_is_laid_out_as_zipkins(store: EmbeddedStore) -> None:
    """Pages and scripts that compare the text of config.json find it unchanged."""
    async with client(store) as asked:
        answer = await asked.get("/zipkin/config.json")
    assert answer.headers["cache-control"] == "max-age=600"
    assert answer.text.startswith('{\n  "environment" : "",\n  "queryLimit" : 10,\n')
    assert answer.text.endswith('"highErrorRate" : 0.75\n  }\n}')


async def test_status_pages(store: EmbeddedStore) -> None:
    """Probes made for Zipkin find health and info, under both paths."""
    async with client(store, query_enabled=False) as asked:
        for mount in ("", "/actuator"):
            assert (await asked.get(f"{mount}/health")).json()["status"] == "UP"
            assert "version" in (await asked.get(f"{mount}/info")).json()["zipkin"]
        assert (await asked.get("/api/v2/services")).status_code == 404
