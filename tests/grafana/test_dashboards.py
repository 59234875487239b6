"""The committed dashboards are the generated ones, and ask what the expressions say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grafana.expressions import Panel, filled
from grafana.generate import DASHBOARDS, FOLDER, PANELS, rendered
from lookout_server.query.prometheus.parser import parse


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_committed_dashboard_is_the_generated_one(name: str) -> None:
    """Nobody edits the JSON: it comes from the code beside it."""
    assert (FOLDER / f"{name}.json").read_text() == rendered(name)


def test_no_dashboard_is_left_over() -> None:
    """Each committed file has its generator."""
    assert {path.stem for path in Path(FOLDER).glob("*.json")} == set(DASHBOARDS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_asks_its_expressions(name: str) -> None:
    """What the tests run on data is what the dashboard sends, with its title over it."""
    panels = json.loads(rendered(name))["panels"]
    asked = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels}
    assert asked == {panel.title: list(panel.expressions.values()) for panel in PANELS[name]}


@pytest.mark.parametrize(
    "panel",
    [panel for panels in PANELS.values() for panel in panels],
    ids=lambda panel: panel.title,
)
def test_the_legend_names_labels_the_expression_keeps(panel: Panel) -> None:
    """A legend can only show labels that are in the ``by`` of its expression."""
    for legend, expression in panel.expressions.items():
        parse(filled(expression))
        labels = [part.partition("}}")[0] for part in legend.split("{{")[1:]]
        assert labels and all(f"{label}" in expression for label in labels)
