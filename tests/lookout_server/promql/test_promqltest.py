"""Prometheus' own tests of PromQL, on the engine in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lookout_server.query.prometheus.engine import Engine

from . import scripts

pytestmark = pytest.mark.skipif(
    not scripts.DIRECTORY.is_dir(), reason=f"no conformance scripts in {scripts.DIRECTORY}"
)


def _engine(path: Path) -> Any:
    is_typed = path.name == "type_and_unit.test"
    return scripts.type_and_unit_engine() if is_typed else scripts.engine()


def _parted(path: Path) -> Any:
    """An engine that sees one series at a time where it can."""
    return Engine(replace(_engine(path).options, part_samples=1))


def _failures(path: Path, ask: Any, wanted: Any = lambda _: True, **judging: Any) -> list[str]:
    tools, engine = scripts.tools(), judging.pop("engine", None) or _engine(path)
    loaded, source = None, None
    failures = []
    for case in tools.cases(path):
        if not wanted(case.eval):
            continue
        if case.loads != loaded:
            loaded, source = case.loads, scripts.source_of(case.loads)
        reason = tools.check_api(case.eval, *ask(engine, source, case.eval), **judging)
        if reason:
            failures.append(f"{path.name}:{case.eval.line} {case.eval.expr}: {reason}")
    return failures


@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_d10_answers_are_those_of_prometheus(path: Path) -> None:
    """Values, labels, errors, warnings and infos are what Prometheus' scripts demand."""
    assert _failures(path, scripts.ask) == []


@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_series_in_parts_make_no_difference(path: Path) -> None:
    """A source that answers some series at a time gets the same answers."""
    assert _failures(path, scripts.ask, engine=_parted(path)) == []


@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_a_range_query_holds_the_instant_answers(path: Path) -> None:
    """Each step of a range query is what an instant query at that time answers."""

    assert _failures(path, scripts.ask_as_range, scripts.may_be_range, annotations=False) == []


@pytest.mark.parametrize("path", scripts.files(), ids=lambda path: path.stem)
def test_selectors_pinned_by_at_do_not_depend_on_the_evaluation_time(path: Path) -> None:
    """With ``@`` on all selectors the answer is the same at any other time."""

    assert _failures(path, scripts.ask_elsewhere, scripts.may_be_pinned, annotations=False) == []
