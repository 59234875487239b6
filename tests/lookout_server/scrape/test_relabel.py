"""Relabelling rules do what Prometheus' documentation says."""

from __future__ import annotations

from typing import Any

import pytest

from lookout_server.scrape.relabel import BadRule, relabelled, rule_of

LABELS = {"a": "foo", "b": "bar", "c": "baz"}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            [{"source_labels": ["a"], "regex": "f(.*)", "target_label": "d",
              "replacement": "ch${1}-ch${1}"}],
            {**LABELS, "d": "choo-choo"},
        ),
        ([{"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a",
           "replacement": "b${1}${2}m"}], {**LABELS, "a": "boobam"}),
        ([{"source_labels": ["a"], "regex": ".*o.*", "action": "drop"}], None),
        ([{"source_labels": ["a"], "regex": "no-match", "action": "keep"}], None),
        ([{"source_labels": ["a"], "regex": "f", "action": "keep"}], None),
        ([{"regex": "(a)", "action": "labelmap", "replacement": "my_$1"}],
         {**LABELS, "my_a": "foo"}),
        ([{"regex": "[ab]", "action": "labeldrop"}], {"c": "baz"}),
        ([{"regex": "[ab]", "action": "labelkeep"}], {"a": "foo", "b": "bar"}),
        ([{"source_labels": ["c"], "target_label": "d", "action": "hashmod", "modulus": 1000}],
         {**LABELS, "d": "976"}),
        ([{"source_labels": ["a"], "target_label": "a", "action": "uppercase"}],
         {**LABELS, "a": "FOO"}),
        ([{"target_label": "a", "replacement": ""}], {"b": "bar", "c": "baz"}),
        ([{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}], None),
        ([{"source_labels": ["a"], "target_label": "b", "action": "dropequal"}], LABELS),
    ],
)  # fmt: skip
def test_rules(rules: list[dict[str, Any]], expected: dict[str, str] | None) -> None:
    """Each action changes, keeps or drops labels."""
    assert relabelled([rule_of(rule) for rule in rules], LABELS) == expected


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "explode"},
        {"regex": "("},
        {"action": "replace"},
        {"action": "hashmod", "target_label": "x"},
        {"source_label": ["a"]},
        "keep",
    ],
)
def test_bad_rules(rule: Any) -> None:
    """A rule that makes no sense is refused when it is read."""
    with pytest.raises(BadRule):
        rule_of(rule)
