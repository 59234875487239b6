"""The configuration of the tracing SDK: one table, one rule of precedence.

argument > ``LOOKOUT_*`` > ``OTEL_*`` > file > default. The table is :class:`Config` itself: each
field names its environment variables, how its text is read, and what it means. A value that cannot
be read is reported in one log line naming where it came from and what is allowed, and the next
source, at last the default, is used: a wrong setting never stops an application.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

_log = logging.getLogger("lookout")

SAMPLERS = ("always", "never", "ratio", "rate", "k_in_100", "rules")
PROPAGATORS = (
    "tracecontext",
    "baggage",
    "b3",
    "b3multi",
    "jaeger",
    "sofa",
    "sofab3",
    "sofatext",
)
_OTEL_SAMPLERS = {
    "always_on": "always",
    "always_off": "never",
    "traceidratio": "ratio",
    "parentbased_always_on": "parent:always",
    "parentbased_always_off": "parent:never",
    "parentbased_traceidratio": "parent:ratio",
}


class WrongValue(ValueError):
    """A setting that cannot be read; the message says what is allowed."""


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise WrongValue("true or false")


def _not(value: Any) -> bool:
    return not _boolean(value)


def _number(
    least: float, most: float = float("inf"), kind: type[Any] = int, scale: float = 1
) -> Callable[[Any], Any]:
    allowed = f"a number from {least}" + (f" to {most}" if most != float("inf") else "")

    def read(value: Any) -> Any:
        try:
            number = kind(value if isinstance(value, (int, float)) else str(value).strip())
        except (TypeError, ValueError, OverflowError):
            raise WrongValue(allowed) from None
        if not least <= number <= most:
            raise WrongValue(allowed)
        return number * scale if scale != 1 else number

    return read


def _text(value: Any) -> str:
    return str(value).strip()


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        word = str(value).strip().lower()
        if word not in allowed:
            raise WrongValue("one of " + ", ".join(allowed))
        return word

    return read


def _sampler(value: Any) -> Any:
    if hasattr(value, "sample"):
        return value
    word = str(value).strip().lower()
    if word.removeprefix("parent:") not in SAMPLERS:
        raise WrongValue(
            f"a sampler, or one of {', '.join(SAMPLERS)}, after 'parent:' to follow the caller"
        )
    return word


def _otel_sampler(value: Any) -> str:
    try:
        return _OTEL_SAMPLERS[str(value).strip().lower()]
    except KeyError:
        raise WrongValue("one of " + ", ".join(_OTEL_SAMPLERS)) from None


def _names(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value
    names = tuple(dict.fromkeys(word for item in words if (word := str(item).strip().lower())))
    if names == ("none",):
        return ()
    for name in names:
        if name not in PROPAGATORS:
            raise WrongValue(f"a list of {', '.join(PROPAGATORS)}; or none")
    return names


def _addresses(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value
    urls = tuple(word.rstrip("/") for item in words if (word := str(item).strip()))
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise WrongValue("addresses that begin with http:// or https://, or nothing")
    return urls


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def maybe(value: Any) -> Any:
        return None if value is None or value == "" else read(value)

    return maybe


def _pairs(value: Any) -> Mapping[str, Any]:
    """``a=b,c=d`` with percent escapes, as OTEL_RESOURCE_ATTRIBUTES has them."""
    from urllib.parse import unquote

    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    found = {}
    for member in str(value).split(","):
        if not member.strip():
            continue
        key, equals, item = member.partition("=")
        if not equals or not key.strip():
            raise WrongValue("key=value pairs with commas between them")
        found[unquote(key.strip())] = unquote(item.strip())
    return found


def _setting(
    default: Any,
    read: Callable[[Any], Any],
    doc: str,
    *env: str | tuple[str, Callable[[Any], Any]],
) -> Any:
    """One row: default, reader, meaning, environment variables in order of precedence.

    A variable whose text means something else than the setting's brings its own reader.
    """
    metadata = {"read": read, "doc": doc, "env": env, "default": default}
    if isinstance(default, dict):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


_UNLIMITED = 2**31


@dataclass(frozen=True, slots=True)
class Config:
    """What the SDK of this process does. Every field is an argument of ``init``."""

    enabled: bool = _setting(
        True, _boolean, "false: no span is made", "LOOKOUT_ENABLED", ("OTEL_SDK_DISABLED", _not)
    )
    service_name: str = _setting(
        "unknown_service",
        _text,
        "name of this service",
        "LOOKOUT_SERVICE_NAME",
        "OTEL_SERVICE_NAME",
    )
    resource: Mapping[str, Any] = _setting(
        {}, _pairs, "what else identifies it", "LOOKOUT_RESOURCE", "OTEL_RESOURCE_ATTRIBUTES"
    )
    collector: tuple[str, ...] = _setting(
        ("http://127.0.0.1:9411",),
        lambda value: () if value is None else _addresses(value),
        "addresses of collectors, the first that answers is used; empty: none",
        "LOOKOUT_COLLECTOR",
    )
    token: str | None = _setting(
        None, _optional(_text), "bearer token for the collector", "LOOKOUT_TOKEN"
    )
    headers: Mapping[str, Any] = _setting(
        {}, _pairs, "headers for the collector", "LOOKOUT_HEADERS"
    )
    spill_dir: str | None = _setting(
        None,
        _optional(os.fspath),
        "where spans wait on disk while no collector answers; nothing: they wait in memory",
        "LOOKOUT_SPILL_DIR",
    )
    log_dir: str | None = _setting(
        None,
        _optional(os.fspath),
        "directory of the digest, stat and error logs; nothing: no logs",
        "LOOKOUT_LOG_DIR",
    )
    sampler: Any = _setting(  # noqa: RUF009  (a row of the table, like the others)
        "parent:always",
        _sampler,
        f"{', '.join(SAMPLERS)}; 'parent:' before it follows the caller's decision",
        "LOOKOUT_SAMPLER",
        ("OTEL_TRACES_SAMPLER", _otel_sampler),
    )
    sampler_arg: float = _setting(
        1.0,
        _number(0, kind=float),
        "ratio (0 to 1), traces per second (rate) or percent (k_in_100)",
        "LOOKOUT_SAMPLER_ARG",
        ("OTEL_TRACES_SAMPLER_ARG", _number(0, 1, float)),
    )
    sampling_rules: str | None = _setting(
        None,
        _optional(os.fspath),
        "TOML file of the sampler 'rules'; read again when it changes",
        "LOOKOUT_SAMPLING_RULES",
    )
    keep_errors: bool = _setting(
        False,
        _boolean,
        "keep this process's part of an unsampled trace in which a span failed",
        "LOOKOUT_KEEP_ERRORS",
    )
    keep_slower_than_s: float | None = _setting(
        None,
        _optional(_number(0, kind=float)),
        "keep this process's part of an unsampled trace that took longer",
        "LOOKOUT_KEEP_SLOWER_THAN",
    )
    count_unsampled: bool | None = _setting(
        None,
        _optional(_boolean),
        "record unsampled spans too, for statistics only; nothing: where there are logs",
        "LOOKOUT_COUNT_UNSAMPLED",
    )
    propagators: tuple[str, ...] = _setting(
        ("tracecontext", "baggage"),
        _names,
        f"formats written to outgoing calls, of {', '.join(PROPAGATORS)}",
        "LOOKOUT_PROPAGATORS",
        "OTEL_PROPAGATORS",
    )
    propagators_read: tuple[str, ...] = _setting(
        (),
        _names,
        "formats read from incoming calls, in order; nothing: those written, then the others",
        "LOOKOUT_PROPAGATORS_READ",
    )
    ids: str = _setting(
        "random", _one_of("random", "sofa"), "form of trace ids: random or sofa", "LOOKOUT_IDS"
    )
    join_spans: bool = _setting(
        False,
        _boolean,
        "a server span takes over the caller's span id, as Zipkin's libraries do",
        "LOOKOUT_JOIN_SPANS",
    )
    ring_capacity: int = _setting(
        16_384,
        _number(16, 2**24),
        "finished spans that may wait for the flusher",
        "LOOKOUT_RING_CAPACITY",
        "OTEL_BSP_MAX_QUEUE_SIZE",
    )
    ring_policy: str = _setting(
        "drop_newest",
        _one_of("drop_newest", "drop_oldest", "block"),
        "what a full ring does: drop_newest, drop_oldest or block",
        "LOOKOUT_RING_POLICY",
    )
    flush_batch: int = _setting(
        1_024,
        _number(1, 2**20),
        "an eighth of the spans handed to the destinations at once, at most",
        "LOOKOUT_FLUSH_BATCH",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    )
    flush_interval_s: float = _setting(
        0.2,
        _number(0.001, 3_600, float),
        "longest time until the flusher looks at the ring, in seconds; spans beyond what it may do"
        " in a turn (5 ms) wait for the next",
        "LOOKOUT_FLUSH_INTERVAL",
        ("OTEL_BSP_SCHEDULE_DELAY", _number(1, 3_600_000, float, 0.001)),
    )
    exit_timeout_s: float = _setting(
        5.0,
        _number(0, 3_600, float),
        "longest time the exit of the process waits for the flush, in seconds",
        "LOOKOUT_EXIT_TIMEOUT",
    )
    flush_on_sigterm: bool = _setting(
        False,
        _boolean,
        "flush on SIGTERM, then do what was done before",
        "LOOKOUT_FLUSH_ON_SIGTERM",
    )
    max_tags: int = _setting(
        128,
        _number(0, _UNLIMITED),
        "tags of a span",
        "LOOKOUT_MAX_TAGS",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
    )
    max_events: int = _setting(
        128,
        _number(0, _UNLIMITED),
        "events of a span",
        "LOOKOUT_MAX_EVENTS",
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
    )
    max_links: int = _setting(
        128,
        _number(0, _UNLIMITED),
        "links of a span",
        "LOOKOUT_MAX_LINKS",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
    )
    max_event_attributes: int = _setting(
        128,
        _number(0, _UNLIMITED),
        "attributes of an event",
        "LOOKOUT_MAX_EVENT_ATTRIBUTES",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    )
    max_link_attributes: int = _setting(
        128,
        _number(0, _UNLIMITED),
        "attributes of a link",
        "LOOKOUT_MAX_LINK_ATTRIBUTES",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    )
    max_value_length: int = _setting(
        16_384,
        _number(0, _UNLIMITED),
        "characters of a tag's value",
        "LOOKOUT_MAX_VALUE_LENGTH",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    )
    max_stack_frames: int = _setting(
        64, _number(1, 1_000), "frames kept of an exception's stack", "LOOKOUT_MAX_STACK_FRAMES"
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting's value came from."""

    name: str
    value: Any
    source: str  # "argument", an environment variable, a file, or "default"


def load(
    arguments: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> Config:
    """The configuration of this process. TypeError for an argument that is no setting."""
    rows = explain(arguments, environment=environment, file=file)
    values = {row.name: row.value for row in rows if row.source != "default"}
    if "service_name" not in values and (named := values.get("resource", {}).get("service.name")):
        values["service_name"] = str(named)  # OpenTelemetry's rule for OTEL_RESOURCE_ATTRIBUTES
    return Config(**values)


def explain(
    arguments: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> list[Origin]:
    """Every setting with its value and where that came from."""
    given = dict(arguments or {})
    environment = os.environ if environment is None else environment
    known = {row.name for row in fields(Config)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise TypeError(
            f"no such setting: {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    path = file or environment.get("LOOKOUT_CONFIG")
    from_file = _read_file(path) if path else {}
    return [_lookup(row, given, environment, from_file, str(path)) for row in fields(Config)]


def _lookup(
    row: Field[Any],
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    from_file: Mapping[str, Any],
    path: str,
) -> Origin:
    for source, value, read in _candidates(row, arguments, environment, from_file, path):
        try:
            return Origin(row.name, read(value), source)
        except WrongValue as problem:
            _log.warning("%s=%r ignored: expected %s", source, value, problem)
        except Exception as problem:
            _log.warning("%s=%r ignored: %s", source, value, problem)
    return Origin(row.name, row.metadata["default"], "default")


def _candidates(
    row: Field[Any],
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    from_file: Mapping[str, Any],
    path: str,
) -> list[tuple[str, Any, Callable[[Any], Any]]]:
    """(source, value, reader) in order of precedence."""
    read = row.metadata["read"]
    found: list[tuple[str, Any, Callable[[Any], Any]]] = []
    if row.name in arguments:
        found.append((f"argument {row.name}", arguments[row.name], read))
    for variable in row.metadata["env"]:
        name, reader = variable if isinstance(variable, tuple) else (variable, read)
        text = environment.get(name)
        if text is not None and text.strip():  # set but empty means unset, as OpenTelemetry rules
            found.append((name, text, reader))
    if row.name in from_file:
        found.append((f"{path}: {row.name}", from_file[row.name], read))
    return found


def _read_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The settings of a TOML file: its ``[tracing]`` table, or the whole of it without one."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        _log.warning("configuration file %s ignored: %s", path, problem)
        return {}
    table = content.get("tracing", content)
    return table if isinstance(table, dict) else {}


def table() -> list[tuple[str, tuple[str, ...], Any, str]]:
    """(name, environment variables, default, meaning) of every setting, for documentation."""
    return [
        (
            row.name,
            tuple(v if isinstance(v, str) else v[0] for v in row.metadata["env"]),
            row.metadata["default"],
            row.metadata["doc"],
        )
        for row in fields(Config)
    ]
