"""The files that run the collector in containers name what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())


def test_the_zipkin_ui_and_grafana_are_pointed_at_the_collector() -> None:
    """Both use the collector's one port under its service name."""
    services = COMPOSE["services"]
    assert services["zipkin-ui"]["environment"]["ZIPKIN_BASE_URL"] == "http://lookout:9411"
    assert services["grafana"]["environment"]["LOOKOUT_URL"] == "http://lookout:9411"


@pytest.mark.skipif(not (ROOT / "tracer").exists(), reason="needs the packages' source beside it")
def test_what_is_mounted_and_copied_exists() -> None:
    """Every path of this repository that the files mention is there."""
    mounted = [volume.partition(":")[0] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (.*)$", dockerfile, re.M) for name in line.split()[:-1]
    ]
    for path in [*(ROOT / "deploy" / name for name in mounted), *(ROOT / name for name in copied)]:
        assert path.exists(), path


def test_the_container_s_command_is_one_the_collector_takes() -> None:
    """The flags of the image's command are flags of ``lookout serve``."""
    from lookout_server.commands.serve import command

    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    flags = set(re.findall(r'"(--[a-z-]+)"', dockerfile))
    known = {option for parameter in command.params for option in parameter.opts}
    assert flags and flags <= known


def test_the_data_sources_carry_what_the_dashboards_ask_for() -> None:
    """Dashboards name the data source by the uid that is provisioned; exemplars find traces."""
    text = (ROOT / "grafana/provisioning/datasources/lookout.yaml").read_text()
    sources = {source["uid"]: source for source in yaml.safe_load(text)["datasources"]}
    assert {source["type"] for source in sources.values()} == {"prometheus", "zipkin"}
    (link,) = sources["lookout-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["datasourceUid"] in sources
    for board in (ROOT / "grafana/dashboards").glob("*.json"):
        assert set(
            re.findall(r'"uid": "(lookout-(?:prometheus|zipkin))"', board.read_text())
        ) <= set(sources)
