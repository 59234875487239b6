"""One HTTP client per destination: keep-alive, several addresses, answers as outcomes."""

from __future__ import annotations

import os
import ssl
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError

from .ledger import REFUSED, TOO_LARGE
from .parcel import Refused, Unavailable

# urllib3 encodes each host name as "idna", whose codec Python imports at its first use. A process
# that forked while our thread was in that import gave its child a lock nobody would release.
"localhost".encode("idna")

#: Answers that say something about the parcel. Any other failure says something about the
#: server, or about what stands before it, and may pass: 401 until the token is renewed, 404
#: until the route is there.
_PARCEL_IS_BAD = {400: REFUSED, 413: TOO_LARGE, 415: REFUSED, 422: REFUSED}


class _TlsConnection(HTTPSConnection):
    """One that leaves no socket open where the peer resets it as TLS begins.

    ``SSLSocket._create`` of CPython 3.11 takes the descriptor over before it asks for the peer, and
    raises without closing it where there is none any more.
    """

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            for frame, _ in traceback.walk_tb(error.__traceback__):
                held = frame.f_locals.get("self")
                if isinstance(held, ssl.SSLSocket):
                    held.close()
            raise


@dataclass(frozen=True, slots=True)
class Tls:
    """What to trust, and who to be, on https addresses. Paths of PEM files."""

    ca: str | os.PathLike[str] | None = None  # default: the system's authorities
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    verify: bool = True


class HttpClient:
    """Posts bodies to the first of ``urls`` that answers, and stays with it.

    Raises ValueError for an address that is not http or https.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        connect_timeout_s: float = 3.0,
    ) -> None:
        self.urls = [urls] if isinstance(urls, str) else list(urls)
        for url in self.urls:
            _check(url)
        if not self.urls:
            raise ValueError("at least one address is needed")
        self._headers = dict(headers or {})
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._tls = tls or Tls()
        self._connect_timeout_s = connect_timeout_s
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}
        self._current = 0

    def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> bytes:
        """The answer's body. Raises Refused or Unavailable when it is not a success."""
        trouble: Unavailable | None = None
        for _ in self.urls:
            try:
                return self._post_to(self.urls[self._current], path, body, headers, timeout_s)
            except Unavailable as failure:
                trouble = failure
                self._current = (self._current + 1) % len(self.urls)
        assert trouble is not None
        raise trouble

    def close(self) -> None:
        """Close idle connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def after_fork(self) -> None:
        """Leave the parent's sockets alone."""
        self._pools = {}

    def _post_to(
        self, url: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> bytes:
        timeout_s = max(timeout_s, _LEAST_TIMEOUT_S)  # urllib3 takes 0 for a mistake
        timeout = urllib3.Timeout(
            total=timeout_s, connect=min(self._connect_timeout_s, timeout_s), read=timeout_s
        )
        try:
            answer = self._pool(url).urlopen(
                "POST",
                urlsplit(url).path.rstrip("/") + path,
                body=body,
                headers={**self._headers, **headers},
                timeout=timeout,
                retries=False,
                redirect=False,
                assert_same_host=False,
            )
        except (HTTPError, OSError) as error:
            raise Unavailable(f"{url}: {_short(error)}") from None
        if 200 <= answer.status < 300:
            return bytes(answer.data)
        raise _failure(url, answer)

    def _pool(self, url: str) -> urllib3.HTTPConnectionPool:
        pool = self._pools.get(url)
        if pool is None:
            secure = urlsplit(url).scheme == "https"
            options = self._tls_options() if secure else {}
            pool = self._pools[url] = urllib3.connection_from_url(url, maxsize=2, **options)
            if secure:
                pool.ConnectionCls = _TlsConnection
        return pool

    def _tls_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED"}
        if not self._tls.verify:
            options = {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        if self._tls.ca is not None:
            options["ca_certs"] = os.fspath(self._tls.ca)
        if self._tls.certificate is not None:
            options["cert_file"] = os.fspath(self._tls.certificate)
        if self._tls.key is not None:
            options["key_file"] = os.fspath(self._tls.key)
        return options


_LEAST_TIMEOUT_S = 0.001

#: Statuses beginning with 4 of a server that only wants to be asked later (RFC 9110, 8470, 6585).
_BUSY = {408, 425, 429}


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"an address must look like http://host:port, not {url!r}")


def _failure(url: str, answer: urllib3.BaseHTTPResponse) -> Refused | Unavailable:
    said = answer.data[:200].decode("utf-8", "replace").strip()
    message = f"{url}: {answer.status} {answer.reason or ''} {said}".strip()
    reason = _PARCEL_IS_BAD.get(answer.status)
    if reason is not None:
        return Refused(message, reason, answer.status)
    return Unavailable(
        message,
        retry_after(answer.headers.get("Retry-After")),
        answered=answer.status == 500,
        turns_away=400 <= answer.status < 500 and answer.status not in _BUSY,
    )


def retry_after(value: str | None) -> float | None:
    """Seconds asked for by a Retry-After header (RFC 9110, 10.2.3): a number or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {str(reason).rpartition(': ')[2]}"[:200]
