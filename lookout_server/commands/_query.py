"""What the commands that ask a running collector share: where it is, asking, durations."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import click
import urllib3

from ..durations import parse_age

_Command = TypeVar("_Command", bound=Callable[..., Any])
_TIMEOUT_S = 60


class Collector:
    """A running collector, asked over HTTP; of several URLs, by commas, the first that answers.

    Raises UsageError for a URL that is none.
    """

    def __init__(self, url: str, tenant: str | None, token: str | None) -> None:
        self._urls = [one.strip().rstrip("/") for one in url.split(",") if one.strip()]
        for one in self._urls or [url]:
            if not one.startswith(("http://", "https://")):
                raise click.UsageError(f"--url {one!r} is no address; expected http://host:port")
        self._headers = {"X-Scope-OrgID": tenant} if tenant else {}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S)

    def get(self, path: str, **parameters: object) -> Any:
        """The JSON answer. Raises ClickException with the collector's own words."""
        return self.ask(path, **parameters)[0]

    def ask(self, path: str, **parameters: object) -> tuple[Any, Mapping[str, str]]:
        """The JSON answer and its headers. Raises as :meth:`get`."""
        given = {name: value for name, value in parameters.items() if value not in (None, "")}
        url, answer = self._answer(path + (f"?{urlencode(given)}" if given else ""))
        if answer.status != 200:
            raise Refused(answer.status, _refusal(url, answer))
        try:
            return json.loads(answer.data), answer.headers
        except ValueError:
            raise click.ClickException(f"{url} answers, but not as a collector does") from None

    def _answer(self, rest: str) -> tuple[str, urllib3.BaseHTTPResponse]:
        """What the first collector that can be reached answers, and its address."""
        silent = []
        for url in self._urls:
            try:
                return url, self._pool.request("GET", url + rest, headers=self._headers)
            except urllib3.exceptions.HTTPError as error:
                silent.append(f"{url} ({_reason(error)})")
        raise click.ClickException(
            f"no answer from {', '.join(silent)}; "
            "start one with `lookout serve`, or name it with --url"
        )


class Refused(click.ClickException):
    """An answer other than 200, in the collector's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def collector_options(command: _Command) -> _Command:
    """Options --url, --tenant, --token and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The API's answer as it is."),
        click.option("--token", envvar="LOOKOUT_TOKEN", show_envvar=True, help="Bearer token."),
        click.option(
            "--tenant",
            envvar="LOOKOUT_TENANT",
            show_envvar=True,
            help="Tenant (X-Scope-OrgID).",
        ),
        click.option(
            "--url",
            envvar="LOOKOUT_COLLECTOR",
            show_envvar=True,
            default="http://127.0.0.1:9411",
            show_default=True,
            help="The collector; several, by commas, are tried in turn.",
        ),
    ):
        command = option(command)
    return command


def _refusal(url: str, answer: urllib3.BaseHTTPResponse) -> str:
    """The collector's words and, where it misses a header, the option that sets it."""
    said = answer.data.decode("utf-8", "replace").strip()
    if _is_strange(said, answer.status):
        said = f"{url} answers, but not as a collector does ({answer.status})"
    if answer.status != 401:
        return said
    return f"{said} (here: {'--tenant' if 'X-Scope-OrgID' in said else '--token'})"


def _is_strange(said: str, status: int) -> bool:
    """Whether this is a page, nothing, or only the status in words: no answer of a collector's."""
    bare = {item.phrase.lower() for item in HTTPStatus if item == status}
    return said.startswith("<") or said.lower() in {"", *bare}


#: What OpenSSL says of an answer that is no TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def _reason(error: Exception) -> str:
    """What the operating system or urllib3 says, without the objects it says it of."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        return "it speaks no TLS; is it http://?"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(error).rpartition("): ")[2]


def milliseconds(text: str, option: str) -> int:
    """A duration such as 15m or 24h given to an option, in ms. Raises BadParameter."""
    try:
        return int(parse_age(text) * 1000)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def microseconds(text: str | None, option: str) -> int | None:
    """A duration such as 250ms, in us, or None. Plain numbers and ``us`` are microseconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(us)?", text)
    return int(match[1]) if match else milliseconds(text, option) * 1000


def moment(text: str | None, option: str = "--end") -> int:
    """A time in ms: ``now``, Unix ms, or ISO 8601. Raises BadParameter."""
    if text is None or text == "now":
        return time.time_ns() // 1_000_000
    if text.isdecimal():
        return int(text)
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time; expected now, Unix milliseconds or ISO 8601",
            param_hint=option,
        ) from None


def duration_text(microseconds: int) -> str:
    """A duration with about three significant digits."""
    if microseconds < 1000:
        return f"{microseconds}us"
    if microseconds < 10_000_000:
        return (
            f"{microseconds / 1000:.3g}ms"
            if microseconds < 1_000_000
            else (f"{microseconds / 1_000_000:.3g}s")
        )
    return f"{microseconds / 1_000_000:.0f}s"
