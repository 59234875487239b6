"""Kinds of work: which log a span belongs to, and what its lines say of it.

Field names, their order and the keys of the statistics are SOFATracer's for the same kind of
work; the tags they are taken from are OpenTelemetry's, current and former.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .records import SpanRecord
from .rhythm import ends_a_name

Tags = Mapping[str, Any]

_NO_TAGS: Tags = {}

# By number, not by comparison: kinds and states may be enums that are slow to compare, and this
# is done for each span.
_HAS_FAILED = (False, False, True)


def has_failed(record: SpanRecord) -> bool:
    """Whether the span's status is ERROR."""
    return _HAS_FAILED[record.status]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a digest line: its name, and the tags its value is taken from, best first."""

    label: str
    tags: tuple[str, ...]

    def of(self, tags: Tags) -> Any:
        """The value; None when no tag has one."""
        for tag in self.tags:
            value = tags.get(tag)
            if value is not None:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work: its logs are ``<name>-digest.log`` and ``<name>-stat.log``.

    ``code`` gives a span's result code, ``succeeded`` which of them are a success in SOFATracer's
    statistics, ``keys`` what they are kept by, beside the application's name. Raises ValueError for
    a name that no file may have.
    """

    name: str
    fields: tuple[Field, ...]
    keys: tuple[Field, ...]
    code: Callable[[SpanRecord, Tags], str]
    succeeded: Callable[[str], bool]

    def has_succeeded(self, record: SpanRecord, tags: Tags) -> bool:
        """Whether the statistics count a span as a success.

        One whose status is ERROR, as its digest line then says, never is one, whatever its code.
        """
        return not _HAS_FAILED[record.status] and self.succeeded(self.code(record, tags))

    def __post_init__(self) -> None:
        if not self.name or not ends_a_name(self.name):
            raise ValueError(f"a kind of work names its log files, which {self.name!r} cannot")


def _http_code(record: SpanRecord, tags: Tags) -> str:
    code = tags.get("http.response.status_code", tags.get("http.status_code"))
    return str(code) if code is not None else plain_code(record, tags)


def plain_code(record: SpanRecord, tags: Tags) -> str:
    """SOFATracer's result code: what the tag says, else 00, or 99 for a span that failed."""
    code = tags.get("result.code")
    if code is not None:
        return str(code)
    return "99" if _HAS_FAILED[record.status] else "00"


def _sql_code(record: SpanRecord, tags: Tags) -> str:
    return "failed" if _HAS_FAILED[record.status] else "success"


def _http_ok(code: str) -> bool:
    return code[:1] in {"1", "2"} or code.strip() in {"301", "302"}


def _http_or_plain_ok(code: str) -> bool:
    return code == "00" or _http_ok(code)


def _plain_ok(code: str) -> bool:
    return code == "00"


def _sql_ok(code: str) -> bool:
    return code == "success"


_URL = Field("request.url", ("url.full", "http.url", "url.path", "http.target"))
_ROUTE = Field("request.url", ("http.route", "url.template", "url.path", *_URL.tags))
_METHOD = Field("method", ("http.request.method", "http.method"))
_REQUEST_SIZE = Field(
    "req.size.bytes",
    ("http.request.body.size", "http.request_content_length", "rpc.request.size"),
)
_RESPONSE_SIZE = Field(
    "resp.size.bytes",
    ("http.response.body.size", "http.response_content_length", "rpc.response.size"),
)
_ERROR = Field("error", ("error", "error.type", "exception.message"))
_REMOTE_APP = Field("remote.app", ("peer.service", "server.address", "net.peer.name"))
_REMOTE_HOST = Field("remote.host", ("server.address", "network.peer.address", "net.peer.name"))
_REMOTE_PORT = Field("remote.port", ("server.port", "network.peer.port", "net.peer.port"))
_CLIENT_HOST = Field("remote.host", ("client.address", "network.peer.address", "net.peer.ip"))
_CLIENT_PORT = Field("remote.port", ("client.port", "network.peer.port", "net.peer.port"))
_DATABASE = Field("database.name", ("db.namespace", "db.name"))
_STATEMENT = Field("sql", ("db.query.text", "db.statement"))
_DB_TYPE = Field("db.type", ("db.system.name", "db.system"))
_OPERATION = Field("method", ("db.operation.name", "db.operation", "db.query.summary"))
_TOPIC = Field("msg.topic", ("messaging.destination.name", "messaging.destination"))
_PARTITION = Field("partition", ("messaging.destination.partition.id", "messaging.kafka.partition"))
_MESSAGE = Field("msg.id", ("messaging.message.id", "messaging.message_id"))
_RPC_SERVICE = Field("service", ("rpc.service",))
_RPC_METHOD = Field("method", ("rpc.method",))
_RPC_SYSTEM = Field("protocol", ("rpc.system.name", "rpc.system"))

HTTP_SERVER = Work(
    "http-server",
    (_URL, _METHOD, _REQUEST_SIZE, _RESPONSE_SIZE, _ERROR),
    (_ROUTE, _METHOD),
    _http_code,
    _http_ok,
)
HTTP_CLIENT = Work(
    "http-client",
    (_URL, _METHOD, _REQUEST_SIZE, _RESPONSE_SIZE, _REMOTE_APP, _ERROR),
    (Field("request.url", ("url.template", "http.route", *_URL.tags)), _METHOD),
    _http_code,
    _http_or_plain_ok,
)
SQL = Work(
    "sql",
    (
        _DATABASE,
        _STATEMENT,
        Field("connection.establish.span", ("db.connection.establish_time",)),
        Field("db.execute.cost", ("db.execute_time",)),
        Field("database.type", _DB_TYPE.tags),
        Field("database.endpoint", ("server.address", "net.peer.name")),
    ),
    (_DATABASE, Field("sql", ("db.query.summary", *_STATEMENT.tags))),
    _sql_code,
    _sql_ok,
)
REDIS = Work("redis", (_DB_TYPE, _OPERATION), (_DB_TYPE,), plain_code, _plain_ok)
MONGODB = Work(
    "mongodb",
    (
        _OPERATION,
        Field("db.statement", _STATEMENT.tags),
        Field("db.instance", _DATABASE.tags),
        Field("peer.hostname", ("server.address", "net.peer.name")),
        Field("peer.host", ("network.peer.address", "net.peer.ip")),
        _ERROR,
        Field("peer.port", _REMOTE_PORT.tags),
        _DB_TYPE,
    ),
    (_OPERATION, _DB_TYPE),
    plain_code,
    _plain_ok,
)
MQ_SEND = Work(
    "mq-send",
    (_MESSAGE, _TOPIC, _PARTITION, Field("broker", _REMOTE_HOST.tags), _ERROR),
    (_TOPIC,),
    plain_code,
    _plain_ok,
)
MQ_CONSUME = Work(
    "mq-consume",
    (
        _MESSAGE,
        _TOPIC,
        _PARTITION,
        Field("offset", ("messaging.kafka.offset", "messaging.kafka.message.offset")),
        Field("consumerGroup", ("messaging.consumer.group.name", "messaging.kafka.consumer.group")),
        _ERROR,
    ),
    (Field("consumerGroup", ("messaging.consumer.group.name",)), _TOPIC),
    plain_code,
    _plain_ok,
)
RPC_CLIENT = Work(
    "rpc-client",
    (
        _RPC_SYSTEM,
        _RPC_SERVICE,
        _RPC_METHOD,
        Field("invoke.type", ("rpc.invoke_type",)),
        _REMOTE_HOST,
        _REMOTE_PORT,
        _REQUEST_SIZE,
        _RESPONSE_SIZE,
        _ERROR,
    ),
    (_RPC_SERVICE, _RPC_METHOD),
    plain_code,
    _plain_ok,
)
RPC_SERVER = Work(
    "rpc-server",
    (
        _RPC_SYSTEM,
        _RPC_SERVICE,
        _RPC_METHOD,
        _CLIENT_HOST,
        _CLIENT_PORT,
        _REQUEST_SIZE,
        _RESPONSE_SIZE,
        _ERROR,
    ),
    (_RPC_SERVICE, _RPC_METHOD),
    plain_code,
    _plain_ok,
)
#: Everything else: the application's own work, named by the span.
BIZ = Work("biz", (), (), plain_code, _plain_ok)

WORKS = (
    HTTP_SERVER,
    HTTP_CLIENT,
    SQL,
    REDIS,
    MONGODB,
    MQ_SEND,
    MQ_CONSUME,
    RPC_CLIENT,
    RPC_SERVER,
    BIZ,
)

_DATABASES = {"redis": REDIS, "valkey": REDIS, "mongodb": MONGODB}

# Which tag makes which work of a span, by its kind.
_SERVING = (
    (("http.request.method", "http.method", "http.route"), HTTP_SERVER),
    (_RPC_SYSTEM.tags, RPC_SERVER),
    (("messaging.system",), MQ_CONSUME),
)
_CALLING = (
    (_DB_TYPE.tags, SQL),
    (_RPC_SYSTEM.tags, RPC_CLIENT),
    (("messaging.system",), MQ_SEND),
    (("http.request.method", "http.method"), HTTP_CLIENT),
)
# By the number of the kind: INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER.
_SIGNS = ((), _SERVING, _CALLING, (), ())
_OTHERWISE = (BIZ, BIZ, BIZ, MQ_SEND, MQ_CONSUME)


def work_of(record: SpanRecord) -> Work:
    """The kind of work a span is, from its kind and tags."""
    kind = record.kind
    signs = _SIGNS[kind]
    if signs:
        tags = record.tags or _NO_TAGS
        for names, work in signs:
            for name in names:
                if name in tags:
                    return work if work is not SQL else _DATABASES.get(str(tags[name]), SQL)
    return _OTHERWISE[kind]
