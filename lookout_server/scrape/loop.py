"""The scraper: asks every target in its interval and hands on what it says.

A scrape is one remote-write body, so it is journalled and stored like any other. Series that are
gone since the last scrape, and all of a target that cannot be reached, end with staleness markers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import cramjam
import urllib3

from ..http import Refused
from ..ingest.prometheus_text import Exposition, TextSample, parse
from ..ingest.remote_write_messages import METRIC_TYPES, WriteRequest
from ..metrics.series import METRIC_NAME
from ..query.prometheus.source import STALE
from ..server import Server
from ..signal import Malformed, Receipt
from .config import Job, ScrapeConfig, ScrapeConfigInvalid
from .pull import BadSlots, Slots, confirming, is_pull, read_slots
from .relabel import relabelled
from .target import Target, discover

log = logging.getLogger("lookout.scrape")

_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
#: How often files of targets are looked at again.
_DISCOVERY_S = 2.0
_BODY_BYTES = 64 * 1024 * 1024

Labels = tuple[tuple[str, str], ...]


class ScrapeFailed(Exception):
    """A target that could not be scraped; the text is its error."""


class Scraper:
    """See :class:`lookout_server.server.Service`."""

    #: The scraper of each running collector, for the API's list of targets.
    running: ClassVar[WeakKeyDictionary[Any, Scraper]] = WeakKeyDictionary()

    def __init__(self, server: Server, config: ScrapeConfig, tenant: str) -> None:
        self._server, self._config, self._tenant = server, config, tenant
        self._pool = urllib3.PoolManager(maxsize=2, retries=False)
        self._tasks: dict[tuple[Any, ...], tuple[Target, asyncio.Task[None]]] = {}
        self._discovery: asyncio.Task[None] | None = None
        self.dropped: list[dict[str, str]] = []
        Scraper.running[server] = self

    @property
    def targets(self) -> list[Target]:
        """What is being scraped."""
        return [target for target, _ in self._tasks.values()]

    async def start(self) -> None:
        """Begin. ValueError for a file of targets that cannot be read."""
        self._discover()
        self._discovery = asyncio.create_task(self._keep_discovering(), name="lookout-discovery")

    async def stop(self) -> None:
        """End all scraping."""
        tasks = [task for _, task in self._tasks.values()]
        if self._discovery is not None:
            tasks.append(self._discovery)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._pool.clear()

    async def scrape(self, target: Target) -> None:
        """Ask a target once and hand on what it says."""
        now_ms = time.time_ns() // 1_000_000
        began = time.perf_counter()
        found = Exposition()
        try:
            found = await asyncio.to_thread(self._fetch, target)
            target.health, target.last_error = "up", ""
        except ScrapeFailed as error:
            target.health, target.last_error = "down", str(error)
        cursors = found.cursors if isinstance(found, Slots) else ()
        target.last_scrape_ms, target.last_seconds = now_ms, time.perf_counter() - began
        body = await asyncio.to_thread(scrape_body, target, found, now_ms)
        try:
            receipt = Receipt(self._tenant, now_ms, {})
            await self._server.intake.accept("metrics", "remote_write", body, receipt)
            target.cursors = cursors
        except (Refused, Malformed) as error:
            log.warning("a scrape of %s was not taken: %s", target.url, error)

    def _discover(self) -> None:
        found: dict[tuple[Any, ...], Target] = {}
        dropped: list[dict[str, str]] = []
        for job in self._config.jobs:
            targets, gone = discover(job)
            found |= {target.key: target for target in targets}
            dropped += gone
        self.dropped = dropped
        for key in self._tasks.keys() - found.keys():
            target, task = self._tasks.pop(key)
            task.cancel()
            target.health = "gone"
        for key in found.keys() - self._tasks.keys():
            task = asyncio.create_task(self._keep_scraping(found[key]), name=f"scrape {key[1]}")
            self._tasks[key] = (found[key], task)

    async def _keep_discovering(self) -> None:
        while True:
            await asyncio.sleep(_DISCOVERY_S)
            try:
                self._discover()
            except ScrapeConfigInvalid as error:  # the targets known stay
                log.warning("%s", error)

    async def _keep_scraping(self, target: Target) -> None:
        interval = target.job.interval
        # Each target has its own place in the interval, the same after a restart.
        digest = blake2b(repr(target.key).encode(), digest_size=8).digest()
        offset = int.from_bytes(digest, "little") / 2**64 * interval
        try:
            while True:
                await asyncio.sleep((offset - time.time()) % interval or interval)
                try:
                    await self.scrape(target)
                except Exception:  # one bad target must not end its loop
                    log.exception("scraping %s failed", target.url)
        finally:
            if target.health == "gone":
                await self._end(target)

    async def _end(self, target: Target) -> None:
        """A target that is no more: all its series end."""
        now_ms = time.time_ns() // 1_000_000
        body = scrape_body(target, Exposition(), now_ms, ended=True)
        with suppress(Refused, Malformed):
            receipt = Receipt(self._tenant, now_ms, {})
            await self._server.intake.accept("metrics", "remote_write", body, receipt)

    def _fetch(self, target: Target) -> Exposition:
        job = target.job
        headers = {
            "Accept": _ACCEPT,
            "Accept-Encoding": "gzip",
            "User-Agent": "lookout",
            "X-Prometheus-Scrape-Timeout-Seconds": f"{job.timeout:g}",
            **job.headers,
        }
        timeout = urllib3.Timeout(total=job.timeout)
        try:
            url = confirming(target.url, target.cursors)
            answer = self._pool.request("GET", url, headers=headers, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise ScrapeFailed(str(error)) from error
        if answer.status != 200:
            raise ScrapeFailed(f"server returned HTTP status {answer.status} {answer.reason}")
        if len(answer.data) > _BODY_BYTES:
            raise ScrapeFailed(f"the answer is larger than {_BODY_BYTES} bytes")
        kind = answer.headers.get("Content-Type", "")
        if is_pull(kind):
            try:
                return read_slots(answer.data)
            except BadSlots as error:
                raise ScrapeFailed(str(error)) from error
        return read_exposition(answer.data, kind, job)


def read_exposition(body: bytes, content_type: str, job: Job) -> Exposition:
    """The samples of an answer. Raises ScrapeFailed."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ScrapeFailed(f"the answer is not UTF-8: {error}") from error
    found = parse(text, openmetrics="application/openmetrics-text" in content_type)
    if found.bad_lines:
        raise ScrapeFailed(found.bad_lines[0])
    if job.sample_limit and len(found.samples) > job.sample_limit:
        raise ScrapeFailed(
            f"sample limit exceeded: {len(found.samples)} samples, the limit is {job.sample_limit}"
        )
    return found


def scrape_body(target: Target, found: Exposition, now_ms: int, *, ended: bool = False) -> bytes:
    """The samples of a scrape, its own metrics, and markers for the series that are gone."""
    request = WriteRequest()
    current: set[Labels] = set()
    kept = 0
    for sample in found.samples:
        labels = _sample_labels(target, sample)
        if labels is None:
            continue
        kept += 1
        time_ms = now_ms
        if sample.time_ms is not None and target.job.honor_timestamps:
            time_ms = sample.time_ms
        else:
            current.add(labels)
        _add(request, labels, time_ms, sample.value, sample, now_ms)
    for labels in target.series - current:
        _add(request, labels, now_ms, STALE)
    added = len(current - target.series)
    target.series = current
    _add_own(request, target, now_ms, (len(found.samples), kept, added), ended=ended)
    for word in found.metadata:
        number = METRIC_TYPES.index(word.type) if word.type in METRIC_TYPES else 0
        request.metadata.add(
            type=number,
            metric_family_name=word.metric.encode(),
            help=word.help.encode(),
            unit=word.unit.encode(),
        )
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def _add_own(
    request: Any, target: Target, now_ms: int, counts: tuple[int, int, int], *, ended: bool
) -> None:
    scraped, kept, added = counts
    own = {
        "up": float(target.health == "up"),
        "scrape_duration_seconds": target.last_seconds,
        "scrape_samples_scraped": float(scraped),
        "scrape_samples_post_metric_relabeling": float(kept),
        "scrape_series_added": float(added),
    }
    for name, value in own.items():
        labels = tuple(sorted({**target.labels, METRIC_NAME: name}.items()))
        _add(request, labels, now_ms, STALE if ended else value)


def _sample_labels(target: Target, sample: TextSample) -> Labels | None:
    """A sample's labels with the target's; None where metric relabelling drops it."""
    labels = merged(dict(sample.labels), target.labels, honor=target.job.honor_labels)
    if target.job.metric_relabel:
        changed = relabelled(target.job.metric_relabel, labels)
        if changed is None or METRIC_NAME not in changed:
            return None
        labels = changed
    return tuple(sorted(labels.items()))


def merged(own: dict[str, str], target: Mapping[str, str], *, honor: bool) -> dict[str, str]:
    """Labels of a sample and its target; of a clash the loser is called ``exported_``."""
    labels = dict(own)
    for name, value in target.items():
        if name in own:
            if honor:
                continue
            exported = f"exported_{name}"
            while exported in labels:
                exported = f"exported_{exported}"
            labels[exported] = own[name]
        labels[name] = value
    return labels


def _add(
    request: Any,
    labels: Iterable[tuple[str, str]],
    time_ms: int,
    value: float,
    sample: TextSample | None = None,
    now_ms: int = 0,
) -> None:
    series = request.timeseries.add()
    for name, text in labels:
        series.labels.add(name=name, value=text)
    series.samples.add(timestamp=time_ms, value=value)
    if sample is not None and sample.exemplar is not None:
        exemplar = sample.exemplar
        at = now_ms if exemplar.time_ms is None else exemplar.time_ms
        message = series.exemplars.add(value=exemplar.value, timestamp=at)
        for name, text in exemplar.labels:
            message.labels.add(name=name.encode(), value=text.encode())
