"""The way to a SOFALookout gateway: probing, pinning, silence on request, the report filter.

Facts: a gateway is used once it answered 200 to ``GET /datas`` and kept for 65 seconds; 412
means "keep the one you have"; ``Wait-Minutes`` silences the reporter; ``Conf-Refresh`` brings a
list of what is to be reported, whose id is echoed in ``Conf-Id``.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import urllib3

from exporters.parcel import Parcel, Refused, Unavailable
from exporters.records import SpanRecord

from ..windows import Indicator

_log = logging.getLogger("lookout")

PATH = "/datas"
PORT = 7200
USER_AGENT = "LOOKOUT-CLIENT-V1"
PINNED_S = 65.0
#: Statuses that say the body itself is wrong: sending it again would not help.
_HOPELESS = (400, 413, 415, 422)


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """What a gateway wants reported. A criterion that is None is off; both off keeps all."""

    id: str = ""
    prefixes: tuple[str, ...] | None = None
    tags: frozenset[tuple[str, str]] | None = None

    @classmethod
    def parse(cls, body: bytes) -> ReportFilter:
        """``{"id":"v1","config":{"name_pre_wl":"a,b","tag_wl":"k=v"}}``; ValueError otherwise."""
        content = orjson.loads(body)
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
        config = content.get("config") or {}
        names, tags = config.get("name_pre_wl"), config.get("tag_wl")
        return cls(
            str(content.get("id", "")),
            None if names is None else tuple(_words(names)),
            None
            if tags is None
            else frozenset(
                (key, value) for key, _, value in (word.partition("=") for word in _words(tags))
            ),
        )

    def keeps(self, indicator: Indicator) -> bool:
        """Whether the name begins with a wanted prefix or one of the tags is wanted."""
        if self.prefixes is None and self.tags is None:
            return True
        return indicator.name.startswith(self.prefixes or ()) or not (
            self.tags or frozenset()
        ).isdisjoint(indicator.tags)


def _words(text: str) -> list[str]:
    return [word.strip() for word in str(text).split(",") if word.strip()]


def base_url(address: str) -> str:
    """``host``, ``host:port`` or a URL as the beginning of a URL, with port 7200 by default."""
    url = address.strip()
    if "://" not in url:
        url = f"http://{url}"
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{address!r} is no gateway: expected host, host:port or a URL")
    url = url.rstrip("/")
    return url if parts.port else f"{url}:{PORT}" if parts.path.strip("/") == "" else url


class GatewayTransport:
    """Delivers bodies to the gateway that answered last (:class:`exporters.parcel.Transport`)."""

    def __init__(
        self,
        addresses: Sequence[str],
        headers: Mapping[str, str],
        *,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.addresses = [base_url(address) for address in addresses]
        if not self.addresses:
            raise ValueError("no gateway address given")
        self._headers = {**headers, "User-Agent": USER_AGENT}
        if token:
            self._headers["X-Lookout-Token"] = token
        self._clock = clock
        self._http = self._pool()
        self._pinned = ""
        self._pinned_until = 0.0
        self._silent_until = 0.0
        self.filter = ReportFilter()

    @staticmethod
    def _pool() -> urllib3.PoolManager:
        return urllib3.PoolManager(
            maxsize=2, timeout=urllib3.Timeout(connect=1.0, read=5.0), retries=False
        )

    def wants(self, indicator: Indicator) -> bool:
        """Whether the gateway, by its latest filter, wants to hear of it."""
        return self.filter.keeps(indicator)

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        """POST one body. Raises Unavailable while there is no gateway or it wants silence."""
        self._keep_silence()
        url = self._gateway()
        status, headers, _ = self._request("POST", url, parcel.headers, parcel.body)
        if status == 200:
            return 0
        self._pinned = ""
        self._listen(status, headers)
        reason = headers.get("Err", "")
        if status in _HOPELESS:
            raise Refused(f"{url} answers {status} {reason}", "refused", status)
        raise Unavailable(f"{url} answers {status} {reason}")

    def _gateway(self) -> str:
        """The pinned gateway, or another one that answers the probe."""
        now = self._clock()
        if self._pinned and now < self._pinned_until:
            return self._pinned
        former, candidates = self._pinned, self.addresses.copy()
        random.shuffle(candidates)
        for url in candidates:
            if self._answers(url, former):
                self._pinned_until = now + PINNED_S
                return self._pinned
        self._pinned = ""
        raise Unavailable(f"no gateway answers at {', '.join(self.addresses)}")

    def _answers(self, url: str, former: str) -> bool:
        try:
            status, headers, body = self._request("GET", url, {"Conf-Id": self.filter.id})
        except Unavailable:
            return False
        if status == 200:
            self._pinned = url
            self._refresh(headers, body)
            return True
        if status == 412 and former:  # this one does not want us: stay where we were
            self._pinned = former
            return True
        self._listen(status, headers)
        return False

    def _refresh(self, headers: Mapping[str, str], body: bytes) -> None:
        if "Conf-Refresh" not in headers:
            return
        try:
            self.filter = ReportFilter.parse(body)
        except (ValueError, AttributeError) as error:
            _log.warning("the gateway's report filter is ignored: %s", error)

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        try:
            answer = self._http.request(
                method, url + PATH, headers={**self._headers, **headers}, body=body
            )
        except urllib3.exceptions.HTTPError as error:
            self._pinned = ""
            raise Unavailable(f"{url}: {error}") from error
        return answer.status, answer.headers, answer.data

    def _listen(self, status: int, headers: Mapping[str, str]) -> None:
        """Be silent for as long as the gateway asks; a longer silence already begun goes on."""
        try:
            minutes = float(headers.get("Wait-Minutes", ""))
        except ValueError:
            return
        self._silent_until = max(self._silent_until, self._clock() + minutes * 60)
        self._keep_silence()

    def _keep_silence(self) -> None:
        left = self._silent_until - self._clock()
        if left > 0:
            raise Unavailable("the gateway asked for silence", left)

    # The rest of the port: bodies come ready, whole and compressed.

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        """Spans do not go this way."""
        return b"", len(records)

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        """A body as it is."""
        return body, PATH, {}

    def split(self, parcel: Parcel) -> Sequence[Parcel]:
        """Batches are small already."""
        return ()

    def close(self) -> None:
        """Let go of connections."""
        self._http.clear()

    def after_fork(self) -> None:
        """Connections are the parent's."""
        self._http = self._pool()
        self._pinned = ""
