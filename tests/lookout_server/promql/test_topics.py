"""PromQL by topic: scripts of our own, the answers derived from Prometheus' documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from . import scripts, topics

_SCRIPTS = sorted(topics.DIRECTORY.glob("*.test"))


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.stem)
def test_answers_are_those_the_documentation_promises(path: Path) -> None:
    """Values, labels, errors, warnings and infos of every case of a topic."""
    engine = scripts.engine()
    faults = {case.line: topics.fault(engine, case) for case in topics.cases(path)}
    assert {line: fault for line, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.stem)
def test_selectors_held_in_time_by_at_answer_the_same_elsewhere(path: Path) -> None:
    """An instant query whose selectors are pinned by ``@`` may be asked at any time."""
    engine, faults = scripts.engine(), {}
    for case in topics.cases(path):
        if case.step_ms or not case.series or case.of("fail"):
            continue
        query = scripts.pinned(case.expr, case.start_ms)
        if query is not None:
            moved = replace(case, expr=query, start_ms=case.start_ms + 61_000, expects=[])
            faults[query] = topics.fault(engine, moved)
    assert {query: fault for query, fault in faults.items() if fault} == {}
