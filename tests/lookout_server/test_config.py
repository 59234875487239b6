"""Where settings come from and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lookout_server.config import (
    ServerConfig,
    format_size,
    is_duration,
    load,
    parse_budget,
    parse_size,
)
from lookout_server.durations import format_duration, parse_duration
from lookout_server.misspelt import misspelt
from tracer import config as tracer_config


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 604800),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("0", 0),
        ("90", 90),
        (5, 5),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Units from milliseconds to years, alone or together, or plain seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7 days", "d", "-1d", "1d!", "-1", "nan", "inf", -5, True])
def test_no_durations(text: object) -> None:
    """Anything else is named in the error."""
    with pytest.raises(ValueError, match="is no duration; expected such as 7d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 2**29), ("10GB", 10**10), ("1kB", 1000), ("0", 0), ("1.5KiB", 1536)],
)
def test_sizes(text: str, size: int) -> None:
    """Decimal and binary units."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "512MiB", "10GB", "1kB", "4GiB", "1536B", "999999B"])
def test_sizes_are_shown_as_written(text: str) -> None:
    """What is shown can be given again, to the byte."""
    assert format_size(parse_size(text)) == text
    assert parse_budget(text) == parse_size(text)


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag before environment before file before default."""
    file = tmp_path / "lookout.toml"
    file.write_text('retention = "1d"\nreaders = 7\nmax_tenants = 5\n')
    monkeypatch.setenv("LOOKOUT_RETENTION", "2d")
    monkeypatch.setenv("LOOKOUT_READERS", "8")
    config = load(file, retention="3d", listen=None)
    assert (config.retention, config.readers, config.max_tenants) == (3 * 86400, 8, 5)
    assert config.listen == "127.0.0.1:9411"


@pytest.mark.parametrize(
    "given", [{"retention": "3.5"}, {"retention_spans": 7}, {"retention_tenants": {"a": "30"}}]
)
def test_an_age_needs_a_unit(given: Any) -> None:
    """``retention = 3.5`` would be three and a half seconds; 0 needs none."""
    with pytest.raises(ValueError, match="has no unit; expected such as"):
        ServerConfig(**given)
    assert ServerConfig(retention=0, retention_spans="0").retention == 0


@pytest.mark.parametrize("given", ["50", 50, "50.0 "])
def test_a_disk_budget_needs_a_unit(given: object) -> None:
    """``disk_budget = 50`` would drop every day but the newest; 0 needs none."""
    with pytest.raises(ValidationError, match=r"has no unit; expected such as 50.*GB"):
        load(disk_budget=given)
    assert load(disk_budget="50GB").disk_budget == 50 * 10**9
    assert load(disk_budget=0).disk_budget == 0


def test_what_the_client_libraries_read_is_not_misspelt() -> None:
    """One environment may serve the collector and the application."""
    client = pytest.importorskip("lookout_client.client")
    names = {name for _, variables, _, _ in tracer_config.table() for name in variables}
    names |= {*client.MetricsConfig.variables(), "LOOKOUT_CLICKHOUSE", "LOOKOUT_KAFKA_BROKERS"}
    assert [*misspelt(names)] == []


def test_retention_by_signal_and_tenant() -> None:
    """A tenant's retention may differ for all signals or for one."""
    config = load(
        retention="7d",
        retention_metrics="30d",
        retention_tenants={"a": "1d", "a/metrics": "90d", "b/spans": "0"},
    )
    day = 86400
    assert (config.retention_of("spans"), config.retention_of("metrics")) == (7 * day, 30 * day)
    assert config.tenant_retention("spans") == {"a": day, "b": 0}
    assert config.tenant_retention("metrics") == {"a": 90 * day}


def test_secrets_are_not_shown() -> None:
    """The password of the ClickHouse URL is in no repr."""
    config = load(clickhouse_url="clickhouse://u:secret@h/d")
    assert "secret" not in repr(config) + str(config.model_dump())


@pytest.mark.parametrize("flags", [{"retention_tenants": {"a": "x"}}, {"batch_rows": 0}])
def test_invalid(flags: dict[str, object]) -> None:
    """What cannot be meant is refused."""
    with pytest.raises(ValidationError):
        load(**flags)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("body_max", "0", "greater than 0"),
        ("journal_max", "0", "greater than 0"),
        ("inflight_max", "0", "greater than 0"),
        ("query_seconds", "0", "greater than 0"),
        ("query_memory", "0", "greater than 0"),
        ("otlp_grpc_listen", "4317", "'4317' is no address; expected HOST:PORT"),
        ("clickhouse_url", "http://u:secret@h:8123", "the scheme 'http' is not supported"),
        ("clickhouse_url", "u:secret@h:9000", "it has no scheme; expected clickhouse://"),
    ],
)
def test_values_that_cannot_work(setting: str, value: str, text: str) -> None:
    """They are refused at the start, named, and without the secrets in them."""
    with pytest.raises(ValidationError) as caught:
        load(None, **{setting: value})
    (error,) = caught.value.errors()
    assert error["loc"] == (setting,)
    assert text in error["msg"]
    assert "secret" not in error["msg"]


@pytest.mark.parametrize("text", ["0", "250ms", "15s", "1h30m", "7d", "400d", "1d1s"])
def test_durations_are_shown_as_written(text: str) -> None:
    """What is shown can be given again."""
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(("text", "seconds"), [("3600000", 3600), ("1h", 3600), ("250ms", 0.25)])
def test_lookback_is_read_as_zipkin_does(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    """A number is milliseconds there; with a unit it is a duration like all others."""
    monkeypatch.setenv("QUERY_LOOKBACK", text)
    assert load().query_lookback == seconds


def test_what_is_a_duration() -> None:
    """Also where it may be absent; plain numbers are none."""
    names = ("retention", "retention_spans", "query_seconds", "self_tracing_rate", "body_max")
    assert [is_duration(name) for name in names] == [True, True, True, False, False]
