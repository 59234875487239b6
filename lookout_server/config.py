"""The collector's configuration: one table, from flag, environment, file or default.

Precedence: command line > ``LOOKOUT_*`` environment > TOML file (``LOOKOUT_CONFIG`` or
``--config``) > default. ``lookout config show`` prints every value and where it came from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from .durations import parse_age, parse_duration

_SIZES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_size(text: object) -> int:
    """Bytes of ``512MiB``, ``10GB`` or a plain number. Raises ValueError as above."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKMGT]B|[KMGT]iB|B|)", str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is no size; expected such as 512MiB, 10GB or 1000000")
    return int(float(match[1]) * _SIZES[match[2]])


def format_size(count: int) -> str:
    """Bytes as people write them, such as ``4GiB`` or ``50GB``, to the byte."""
    units = sorted(_SIZES.items(), key=lambda unit: -unit[1])
    fitting = (f"{count // size}{unit}" for unit, size in units if unit and count % size == 0)
    return next(fitting) if count else "0"


def parse_budget(text: object) -> int:
    """The same, but a number needs its unit: all that ``50`` bytes cannot hold would be dropped.

    Raises ValueError as above, and for a number other than 0 alone.
    """
    size = parse_size(text)
    if size and not str(text).strip()[-1].isalpha():
        raise ValueError(f"{text!r} has no unit; expected such as {text}GB, {text}GiB, or 0")
    return size


def parse_lookback(text: object) -> float:
    """Seconds of ``12h`` or, as Zipkin reads it, of a plain number of milliseconds.

    Raises ValueError as :func:`parse_duration`.
    """
    return int(str(text)) / 1000 if str(text).isdecimal() else parse_duration(text)


Duration = Annotated[float, BeforeValidator(parse_duration)]
Age = Annotated[float, BeforeValidator(parse_age)]
Lookback = Annotated[float, BeforeValidator(parse_lookback)]
Size = Annotated[int, BeforeValidator(parse_size)]
Budget = Annotated[int, BeforeValidator(parse_budget)]


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Words = Annotated[list[str], NoDecode, BeforeValidator(_comma_separated)]

#: What ``enable_feature`` may name, besides "all".
FEATURES = (
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "type-and-unit-labels",
    "use-start-timestamps",
    # Always on: the first as in Prometheus since 3.14.
    "promql-duration-expr",
    "promql-delayed-name-removal",
)


def _or_zipkin(field: str) -> AliasChoices:
    """Environment names of a field that Zipkin has too: ours first, then Zipkin's."""
    return AliasChoices(field, f"LOOKOUT_{field.upper()}", field.upper())


class ServerConfig(BaseSettings):
    """Everything ``lookout serve`` can be told. Environment names are ``LOOKOUT_<FIELD>``."""

    model_config = SettingsConfigDict(
        env_prefix="LOOKOUT_", extra="ignore", frozen=True, toml_file=None
    )

    # -- where and what ------------------------------------------------------------------
    data_dir: Path = Field(
        default=Path("lookout-data"), description="Directory of the journal and the database."
    )
    listen: str = Field(
        default="127.0.0.1:9411", description="HOST:PORT of the HTTP API; port 0 picks a free one."
    )
    multitenancy: bool = Field(
        default=False,
        description="Take the tenant from the header X-Scope-OrgID and refuse requests without it.",
    )
    max_tenants: int = Field(
        default=10_000, ge=1, description="Tenants written to in one run; more are refused (429)."
    )

    # -- retention -----------------------------------------------------------------------
    retention: Age = Field(
        default=parse_duration("7d"),
        validate_default=False,
        description="Age at which data is dropped (7d, 12h); 0 keeps everything.",
    )
    retention_spans: Age | None = Field(
        default=None, description="Retention of spans, where it differs from `retention`."
    )
    retention_metrics: Age | None = Field(
        default=None, description="Retention of metrics, where it differs from `retention`."
    )
    retention_tenants: dict[str, str] = Field(
        default_factory=dict,
        description='Retention by tenant, or by tenant and signal: {"a": "30d", "b/spans": "1d"}.',
    )
    future_limit: Duration = Field(
        default=parse_duration("1h"),
        description="How far after now a timestamp may lie; ignored with retention 0.",
    )
    disk_budget: Budget = Field(
        default=0,
        description="Space of the database (50GB); above it the oldest day goes; 0: no limit.",
    )

    # -- store ---------------------------------------------------------------------------
    clickhouse_url: SecretStr | None = Field(
        default=None,
        description=(
            "clickhouse://user:password@host:9000,host2:9000/database?secure=1; "
            "absent: the database embedded in this process."
        ),
    )
    clickhouse_cluster: str | None = Field(
        default=None, description="Cluster name for ON CLUSTER and Distributed tables."
    )
    clickhouse_on_cluster: bool = Field(
        default=True,
        description=(
            "Let ClickHouse spread DDL over the cluster (needs a Keeper); "
            "off: every host of the cluster is told by itself."
        ),
    )
    clickhouse_replicated: bool = Field(
        default=False, description="Replicated* tables; needs a Keeper on the cluster."
    )
    database_memory: Size = Field(
        default=parse_size("1GiB"),
        gt=0,
        description="Memory the embedded database may take in all.",
    )
    query_seconds: Duration = Field(
        default=10.0, gt=0, description="Time limit of one database query."
    )
    query_memory: Size = Field(
        default=parse_size("400MiB"), gt=0, description="Memory limit of one database query."
    )
    query_threads: int = Field(default=2, ge=1, description="Database threads of one query.")
    readers: int = Field(default=4, ge=1, description="Database queries running at once.")

    # -- journal and writer --------------------------------------------------------------
    journal_sync: Literal["full", "normal", "off"] = Field(
        default="full",
        description=(
            "full: an answer means synced to disk (survives power loss); normal: survives the "
            "process; off: as normal, and the file may be damaged by power loss."
        ),
    )
    journal_max: Size = Field(
        default=parse_size("4GiB"),
        gt=0,
        description="Size of the journal at which requests are refused (503).",
    )
    set_aside_max: Size = Field(
        default=parse_size("256MiB"),
        ge=0,
        description=(
            "Space in the journal for bodies that cannot be stored; the oldest are deleted first."
        ),
    )
    inflight_max: Size = Field(
        default=parse_size("64MiB"),
        gt=0,
        description="Bytes of bodies being decoded or synced at once; more are refused (503).",
    )
    decode_processes: int | None = Field(
        default=None,
        ge=0,
        le=1,
        description=(
            "Processes beside the collector that decode bodies: 0 none; 1 from the start, for all "
            "up to 8 MiB; absent: one while there is much to decode, given two cores. "
            "With `stages` there is none."
        ),
    )
    pending_rows: int = Field(
        default=400_000,
        ge=1,
        description=(
            "Spans waiting in memory for the writer, and four times as many samples; beyond it "
            "they wait in the journal."
        ),
    )
    batch_rows: int = Field(
        default=50_000,
        ge=1,
        description="Rows at which a batch is written; of samples up to four times as many go.",
    )
    batch_seconds: Duration = Field(
        default=1.0,
        description=(
            "Age at which a batch is to be written, however small; it begins earlier by as long as "
            "writing takes, at most by half."
        ),
    )

    # -- requests ------------------------------------------------------------------------
    body_max: Size = Field(
        default=parse_size("16MiB"), gt=0, description="Size of a body as sent; more gets 413."
    )
    body_max_decompressed: Size = Field(
        default=parse_size("64MiB"), gt=0, description="Size of a body decompressed; more gets 413."
    )
    body_timeout: Duration = Field(
        default=15.0, description="Time a client may take to send a body; more gets 408."
    )
    connections_max: int = Field(
        default=2_000,
        ge=1,
        description="Connections, and calls over gRPC, served at once; more get 503.",
    )
    tenant_rate: Size = Field(
        default=0, description="Bytes a second one tenant may send; more gets 429. 0: no limit."
    )
    drain_timeout: Duration = Field(
        default=10.0, description="Time for open requests to end after SIGTERM."
    )

    # -- security ------------------------------------------------------------------------
    tokens_file: Path | None = Field(
        default=None,
        description="TOML file of bearer tokens; with it every request needs one (see docs).",
    )
    insecure_listen: bool = Field(
        default=False, description="Listen beyond loopback although there are no tokens."
    )
    tls_cert: Path | None = Field(default=None, description="Certificate chain (PEM) to serve.")
    tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    tls_client_ca: Path | None = Field(
        default=None, description="CA (PEM) that client certificates must come from (mTLS)."
    )
    tls_handshake_timeout: Duration = Field(
        default=10.0,
        gt=0,
        description="Time from connecting to the end of the TLS handshake; then it is closed.",
    )
    cors_origins: Annotated[list[str] | None, NoDecode, BeforeValidator(_comma_separated)] = Field(
        default=None,
        description=(
            "Origins whose pages may use everything under /api; '*' any, empty none. "
            "Absent: any page may use Zipkin's query API, as with Zipkin, and nothing else."
        ),
    )

    # -- metrics -------------------------------------------------------------------------
    label_names_max: int = Field(default=128, ge=1, description="Labels of one series.")
    label_name_bytes_max: int = Field(default=1024, ge=1, description="Bytes of a label name.")
    label_value_bytes_max: int = Field(default=8192, ge=1, description="Bytes of a label value.")
    series_per_tenant_max: int = Field(
        default=2_000_000,
        ge=0,
        description="Active series of one tenant; new ones beyond are refused. 0: no limit.",
    )
    series_per_metric_max: int = Field(
        default=500_000,
        ge=0,
        description="Active series of one metric and tenant; 0: no limit.",
    )

    # -- Zipkin API (its own environment names are honoured too) ---------------------------
    strict_trace_id: bool = Field(
        default=True,
        validation_alias=_or_zipkin("strict_trace_id"),
        description="Tell 64-bit and 128-bit trace ids apart that share their low 64 bits.",
    )
    search_enabled: bool = Field(
        default=True,
        validation_alias=_or_zipkin("search_enabled"),
        description="Search for traces and list names; off, traces are only found by id.",
    )
    autocomplete_keys: Words = Field(
        default=[],
        validation_alias=_or_zipkin("autocomplete_keys"),
        description="Tag keys whose values are collected and offered by the autocomplete API.",
    )
    collector_sample_rate: float = Field(
        default=1.0,
        ge=0,
        le=1,
        validation_alias=_or_zipkin("collector_sample_rate"),
        description="Share of traces kept, decided by trace id; debug spans are always kept.",
    )
    collector_http_enabled: bool = Field(
        default=True,
        validation_alias=_or_zipkin("collector_http_enabled"),
        description="Take spans over HTTP (/api/v1/spans, /api/v2/spans, /v1/traces ...).",
    )
    query_enabled: bool = Field(
        default=True,
        validation_alias=_or_zipkin("query_enabled"),
        description="Serve the Zipkin query API and its UI.",
    )
    query_lookback: Lookback = Field(
        default=parse_duration("1d"),
        ge=0.001,
        validation_alias=_or_zipkin("query_lookback"),
        description="How far a query looks back where it does not say; a number is milliseconds.",
    )
    search_slack: Duration = Field(
        default=parse_duration("1h"),
        description=(
            "A span this far outside of a search's window can still make its trace match; "
            "the longest trace that is searched exactly."
        ),
    )
    zipkin_ui: Path | None = Field(
        default=None, description="Folder or zipkin-lens jar of the Zipkin UI, served at /zipkin/."
    )
    zipkin_ui_basepath: str = Field(
        default="/zipkin",
        validation_alias=AliasChoices("LOOKOUT_ZIPKIN_UI_BASEPATH", "ZIPKIN_UI_BASEPATH"),
        description="Path at which a proxy shows the Zipkin UI.",
    )
    otlp_grpc_listen: str | None = Field(
        default=None,
        description="HOST:PORT for OTLP over gRPC (usually 127.0.0.1:4317); absent: not served.",
    )

    span_metrics_interval: Duration = Field(
        default=15.0,
        description="How often metrics are made of the spans received; 0: not at all.",
    )
    span_metrics_keys_max: int = Field(
        default=2_000,
        ge=1,
        description="Services x names x kinds x statuses with metrics of their own, per tenant.",
    )

    # -- Kafka (Zipkin's own environment names are honoured too) ---------------------------
    kafka_bootstrap_servers: Words = Field(
        default=[],
        validation_alias=_or_zipkin("kafka_bootstrap_servers"),
        description="HOST:PORT of brokers to read topics from; empty: Kafka is not read.",
    )
    kafka_span_topics: Words = Field(
        default=["zipkin"],
        validation_alias=AliasChoices(
            "kafka_span_topics", "LOOKOUT_KAFKA_SPAN_TOPICS", "KAFKA_TOPIC"
        ),
        description=(
            "Topics of spans, each TOPIC or TOPIC:ENCODING of zipkin (told from the bytes; the "
            "default), otlp_proto, otlp_json, jaeger_thrift."
        ),
    )
    kafka_metric_topics: Words = Field(
        default=[],
        description=(
            "Topics of metrics, each TOPIC or TOPIC:ENCODING of otlp (told from the bytes; the "
            "default), otlp_proto, otlp_json, remote_write."
        ),
    )
    kafka_group_id: str = Field(
        default="lookout",
        min_length=1,
        validation_alias=_or_zipkin("kafka_group_id"),
        description="Consumer group; the collectors of one group share the partitions.",
    )
    kafka_tenant: str = Field(
        default="default",
        description="Tenant of messages without a header X-Scope-OrgID (used if multitenant).",
    )
    kafka_session_timeout: Duration = Field(
        default=30.0,
        gt=0,
        description=(
            "Absence after which a collector's partitions go to others; a restart within keeps "
            "them."
        ),
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="SASL mechanism."
    )
    kafka_sasl_username: str | None = Field(default=None, description="SASL user.")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="SASL password.")
    kafka_tls_ca: Path | None = Field(
        default=None, description="CA (PEM) of the brokers' certificates; absent: the system's."
    )
    kafka_tls_cert: Path | None = Field(
        default=None, description="Certificate (PEM) to show to the brokers."
    )
    kafka_tls_key: Path | None = Field(default=None, description="Its private key (PEM).")

    # -- scraping ------------------------------------------------------------------------
    scrape_config: Path | None = Field(
        default=None,
        description="A prometheus.yml with the targets to scrape: static and from files.",
    )
    scrape_self: Duration = Field(
        default=0.0, description="How often the collector scrapes its own /metrics; 0: not."
    )
    scrape_tenant: str = Field(default="default", description="Tenant of what is scraped.")

    # -- PromQL --------------------------------------------------------------------------
    promql_timeout: Duration = Field(default=120.0, description="Time limit of one query.")
    promql_lookback: Duration = Field(
        default=300.0, description="How old a sample may be and still be a series' value."
    )
    promql_max_samples: int = Field(
        default=50_000_000, ge=1, description="Samples one query may hold in memory."
    )
    promql_held_memory: Size = Field(
        default=parse_size("256MiB"),
        description=(
            "Samples of recent queries kept in memory (not beside a ClickHouse server, where "
            "others write too); 0: none."
        ),
    )
    promql_concurrency: int = Field(default=20, ge=1, description="Queries running at once.")
    enable_feature: Words = Field(
        default=[],
        description=(f"Experimental features by Prometheus' names: {', '.join(FEATURES)}; or all."),
    )
    admin_api: bool = Field(
        default=False, description="Serve the API that deletes series (/api/v1/admin/tsdb/)."
    )

    # -- the collector's own traces --------------------------------------------------------
    self_tracing_rate: float = Field(
        default=0.0, ge=0, le=1, description="Share of the collector's own requests to trace."
    )
    self_tracing_tenant: str = Field(
        default="default", description="Tenant the collector's own traces belong to."
    )

    # -- stages --------------------------------------------------------------------------
    stages: Words = Field(
        default=[],
        description="Names of the entry points (group lookout.stages) to run after decoding.",
    )

    @field_validator("listen", "otlp_grpc_listen")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value:
            split_listen(value)
        return value

    @field_validator("clickhouse_url")
    @classmethod
    def _native_protocol(cls, value: SecretStr | None) -> SecretStr | None:
        scheme, colon, _ = value.get_secret_value().partition("://") if value else ("", "", "")
        if value and (not colon or scheme not in ("clickhouse", "clickhouses")):
            # The address itself may hold a password.
            told = f"the scheme {scheme!r} is not supported" if colon else "it has no scheme"
            raise ValueError(
                f"{told}; expected clickhouse://HOST:9000/DATABASE (the native protocol)"
            )
        return value

    @field_validator("retention_tenants")
    @classmethod
    def _durations(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            parse_age(text)
        return value

    @field_validator("enable_feature")
    @classmethod
    def _known_features(cls, value: list[str]) -> list[str]:
        if unknown := [name for name in value if name not in {*FEATURES, "all"}]:
            raise ValueError(
                f"unknown: {', '.join(unknown)}; known are {', '.join(FEATURES)}, and all"
            )
        return value

    @model_validator(mode="after")
    def _key_with_certificate(self) -> ServerConfig:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: one of them is missing")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def retention_of(self, signal: str) -> float:
        """Default retention of a signal in seconds; 0 keeps everything."""
        own = getattr(self, f"retention_{signal}", None)
        return self.retention if own is None else float(own)

    def tenant_retention(self, signal: str) -> Mapping[str, float]:
        """Seconds by tenant, for the tenants whose retention of this signal is set apart."""
        general = {k: v for k, v in self.retention_tenants.items() if "/" not in k}
        special = {
            k.rsplit("/", 1)[0]: v
            for k, v in self.retention_tenants.items()
            if k.endswith(f"/{signal}")
        }
        return {k: parse_duration(v) for k, v in {**general, **special}.items()}


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` (IPv6 in brackets). Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise ValueError(f"{listen!r} is no address; expected HOST:PORT such as 127.0.0.1:9411")
    return host.strip("[]"), int(port)


def is_duration(field: str) -> bool:
    """Whether a field takes durations: seconds, whose type alone does not tell."""
    annotation = ServerConfig.model_fields[field].annotation
    return _is_read_by(field, parse_duration, parse_age, parse_lookback) or (
        annotation in (Duration | None, Age | None)
    )


def is_size(field: str) -> bool:
    """Whether a field takes sizes: bytes, whose type alone does not tell."""
    return _is_read_by(field, parse_size, parse_budget)


def _is_read_by(field: str, *readers: Callable[[object], float]) -> bool:
    metadata = ServerConfig.model_fields[field].metadata
    return any(getattr(one, "func", None) in readers for one in metadata)


def environment_names(field: str) -> list[str]:
    """The environment variables a field is read from, the first one found wins."""
    alias = ServerConfig.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(name) for name in alias.choices if str(name).isupper()]
    return [f"LOOKOUT_{field.upper()}"]


def load(toml_file: Path | None = None, **flags: Any) -> ServerConfig:
    """The configuration with the command line's flags on top; ``None`` flags are unset.

    Raises pydantic's ValidationError, and ValueError for a file that is no TOML or has a
    setting nobody knows.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if toml_file is None:
        return ServerConfig(**given)
    if unknown := tomllib.loads(toml_file.read_text("utf-8")).keys() - ServerConfig.model_fields:
        from .misspelt import named

        raise ValueError(f"unknown setting {', '.join(map(named, sorted(unknown)))}")

    class _FromFile(ServerConfig):
        model_config = SettingsConfigDict(toml_file=toml_file)

    return _FromFile(**given)
