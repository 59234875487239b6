"""A real ``lookout serve`` for a test of the Zipkin API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .. import serving as processes


@contextmanager
def serving(
    data_dir: Path, *, env: Mapping[str, str] | None = None, multitenancy: bool = True
) -> Iterator[str]:
    """The base URL of a collector that keeps everything and tells tenants apart."""
    flags = ["--retention", "0", *(["--multitenancy"] if multitenancy else [])]
    with processes.serving(data_dir, *flags, env=env) as running:
        yield running.url
