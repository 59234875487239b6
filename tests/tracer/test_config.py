"""Settings: where they come from, in which order, and what a wrong one does."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from tracer import AlwaysOff, AlwaysOn, ParentBased, Ratio
from tracer.config import Config, explain, load, table
from tracer.sampling_rate import KInHundred, RateLimited
from tracer.sampling_rules import RulesFile
from tracer.setup import sampler_of


def config(environment: dict[str, str] | None = None, **arguments: Any) -> Config:
    return load(arguments, environment=environment or {})


def test_argument_before_lookout_before_otel_before_file_before_default(tmp_path: Path) -> None:
    """Each source gives way to the one before it, and its origin is told."""
    file = tmp_path / "lookout.toml"
    file.write_text('[tracing]\nservice_name = "file"\nmax_tags = 3\n')
    environment = {
        "LOOKOUT_CONFIG": str(file),
        "OTEL_SERVICE_NAME": "otel",
        "LOOKOUT_SERVICE_NAME": "lookout",
    }
    sources = [found({"service_name": "argument"}, environment), found({}, environment)]
    for variable in ("LOOKOUT_SERVICE_NAME", "OTEL_SERVICE_NAME", "LOOKOUT_CONFIG"):
        del environment[variable]
        sources.append(found({}, environment))
    assert sources == [
        ("argument", "argument service_name"),
        ("lookout", "LOOKOUT_SERVICE_NAME"),
        ("otel", "OTEL_SERVICE_NAME"),
        ("file", f"{file}: service_name"),
        ("unknown_service", "default"),
    ]


def found(arguments: dict[str, Any], environment: dict[str, str]) -> tuple[Any, str]:
    rows = {row.name: row for row in explain(arguments, environment=environment)}
    return rows["service_name"].value, rows["service_name"].source


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("OTEL_SDK_DISABLED", "true", "enabled", False),
        ("OTEL_SERVICE_NAME", "shop", "service_name", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b=%C3%A9", "resource", {"a": "1", "b": "é"}),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "sampler", "parent:ratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25", "sampler_arg", 0.25),
        ("OTEL_PROPAGATORS", "b3,tracecontext,b3", "propagators", ("b3", "tracecontext")),
        ("OTEL_PROPAGATORS", "none", "propagators", ()),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7", "max_tags", 7),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "8", "max_tags", 8),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "9", "max_events", 9),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "10", "max_links", 10),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "11", "max_event_attributes", 11),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "12", "max_link_attributes", 12),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "13", "max_value_length", 13),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "14", "max_value_length", 14),
        ("OTEL_BSP_SCHEDULE_DELAY", "250", "flush_interval_s", 0.25),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4096", "ring_capacity", 4096),
        ("LOOKOUT_COLLECTOR", "http://a:1/, https://b", "collector", ("http://a:1", "https://b")),
        ("LOOKOUT_KEEP_SLOWER_THAN", "0.5", "keep_slower_than_s", 0.5),
        ("LOOKOUT_ENABLED", "off", "enabled", False),
    ],
)
def test_environment_variables_are_read(
    variable: str, text: str, setting: str, value: object
) -> None:
    """OpenTelemetry's variables and our own mean what their documentation says."""
    assert getattr(config({variable: text}), setting) == value


@pytest.mark.parametrize(
    ("setting", "wrong", "allowed"),
    [
        ("sampler", "sometimes", "one of always, never, ratio, rate, k_in_100, rules"),
        ("sampler_arg", "-1", "a number from 0"),
        ("propagators", "b4", "a list of tracecontext, baggage, b3, b3multi, jaeger, sofa"),
        ("max_tags", "many", "a number from 0 to"),
        ("enabled", "perhaps", "true or false"),
        ("collector", "localhost:9411", "addresses that begin with http:// or https://"),
        ("ring_policy", "explode", "one of drop_newest, drop_oldest, block"),
        ("resource", "a", "key=value pairs"),
    ],
)
def test_a_wrong_value_is_named_and_the_default_used(
    setting: str, wrong: str, allowed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line: the origin, the value and what is allowed; nothing raises."""
    default = getattr(config(), setting)
    variable = f"LOOKOUT_{setting.upper()}"
    assert getattr(config({variable: wrong}), setting) == default
    assert len(caplog.records) == 1
    assert f"{variable}={wrong!r} ignored: expected" in caplog.text
    assert allowed in caplog.text
    caplog.clear()
    assert getattr(config({}, **{setting: wrong}), setting) == default
    assert f"argument {setting}={wrong!r} ignored" in caplog.text


def test_a_wrong_value_gives_way_to_the_next_source(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong LOOKOUT variable leaves OpenTelemetry's in force."""
    found = config({"LOOKOUT_MAX_TAGS": "x", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "5"})
    assert found.max_tags == 5


def test_otels_sampler_names_are_named_when_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """The message lists what that variable allows."""
    assert config({"OTEL_TRACES_SAMPLER": "alway_on"}).sampler == "parent:always"
    assert "OTEL_TRACES_SAMPLER='alway_on' ignored: expected one of always_on" in caplog.text


def test_an_unreadable_file_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Missing or broken, it costs one line."""
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    for file in (tmp_path / "none.toml", broken):
        assert load(environment={}, file=file) == Config()
    assert len(caplog.records) == 2


def test_a_setting_that_does_not_exist_is_the_programs_mistake() -> None:
    """A misspelt argument is told at once, with all names."""
    with pytest.raises(TypeError, match=r"no such setting: servce_name; there are .*service_name"):
        config(servce_name="x")


def test_a_config_cannot_be_changed() -> None:
    """What was set up is what is in force."""
    with pytest.raises(FrozenInstanceError):
        config().service_name = "other"  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    """Name, variables, default and meaning of each."""
    rows = table()
    assert [row[0] for row in rows] == [field.name for field in fields(Config)]
    for name, variables, _, meaning in rows:
        assert meaning
        assert variables[0].startswith("LOOKOUT_"), name


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "ParentBased(AlwaysOn())"),
        ({"sampler": "never"}, "AlwaysOff()"),
        ({"sampler": "parent:ratio", "sampler_arg": 0.5}, "ParentBased(Ratio(0.5))"),
        ({"sampler": "rate", "sampler_arg": 20}, "RateLimited(20.0)"),
        ({"sampler": "k_in_100", "sampler_arg": 5}, "KInHundred(5.0)"),
        ({"sampler": "ratio", "sampler_arg": 5}, "AlwaysOn()"),
        ({"sampler": "rules"}, "AlwaysOn()"),
        ({"sampler": "rules", "sampling_rules": "none.toml"}, "RulesFile('none.toml')"),
        ({"sampler": AlwaysOff()}, "AlwaysOff()"),
    ],
)
def test_samplers_are_made_as_configured(settings: dict[str, Any], expected: str) -> None:
    """By name and argument, or as an object; what cannot be keeps everything."""
    assert repr(sampler_of(config(**settings))) == expected
    _ = (AlwaysOn, KInHundred, ParentBased, RateLimited, Ratio, RulesFile)


def test_the_page_on_tracing_lists_every_setting() -> None:
    """docs/tracing.md has a row with the variables and the meaning of each."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text()
    for name, variables, _, meaning in table():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert all(f"`{variable}`" in row for variable in variables), name
        assert meaning in row, name
