"""Sums of links: kept within a bound, added up by what changed, and written as JSON."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.query.zipkin.link_cache import LinkCache
from lookout_server.query.zipkin.link_sums import LinkSums, Total, total

from .test_links import summed


def test_kept_links_are_bounded_with_their_names() -> None:
    """Long names count: the least recently used make room for what is new."""
    kept = LinkCache(200_000)
    one = np.zeros(1, np.int64)
    sums = LinkSums(["x" * 50_000], one, one, one, one)
    for place in range(9):
        kept.put(place, "mark", sums)
    held = [place for place in range(9) if kept.get(place, "mark") is not None]
    assert held == [6, 7, 8]


_LINKS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from("abcd"), st.integers(1, 9), st.integers(0, 9)
    ),
    max_size=5,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_LINKS, max_size=8), st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=5))
def test_a_sum_of_what_changed_is_the_sum_of_all(
    columns: list[list[tuple[str, str, int, int]]], choices: list[set[int]]
) -> None:
    """Asked again with other parts, whichever went and came, each link has the calls of all."""
    parts = [
        LinkSums.of_columns(*map(pa.array, zip(*rows, strict=True)))
        if rows
        else LinkSums.of_columns(*[pa.array([], pa.string())] * 2, *[pa.array([], pa.int64())] * 2)
        for rows in columns
    ]
    before: Total | None = None
    for choice in choices:
        chosen = [part for number, part in enumerate(parts) if number in choice]
        before = Total.of(chosen, before)
        assert summed(before.sums) == summed(total(chosen))
        assert all(link["callCount"] for link in orjson.loads(before.sums.json()))


def test_a_sum_takes_off_no_part_that_is_forgotten() -> None:
    """What it had is not known any more: all is summed anew, as it is for two that are the same."""

    def links(calls: int) -> LinkSums:
        return LinkSums.of_columns(
            pa.array(["a"]), pa.array(["b"]), pa.array([calls]), pa.array([0])
        )

    kept = [links(1) for _ in range(4)]
    before = Total.of([*kept, links(10)])  # a part that nobody has
    assert summed(Total.of(kept, before).sums) == {("a", "b"): (4, 0)}
    twice = Total.of([kept[0], *kept], Total.of(kept))
    assert summed(twice.sums) == {("a", "b"): (5, 0)}
    assert summed(Total.of(kept, twice).sums) == {("a", "b"): (4, 0)}


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 2**53), st.integers(0, 9))))
def test_links_are_written_as_any_encoder_would(rows: list[tuple[str, str, int, int]]) -> None:
    """Whatever is in names, and without a number of errors where there are none."""
    names = [pa.array([row[at] for row in rows], pa.string()) for at in (0, 1)]
    numbers = [pa.array([row[at] for row in rows], pa.int64()) for at in (2, 3)]
    assert LinkSums.of_columns(*names, *numbers).json() == orjson.dumps(
        [
            {"parent": parent, "child": child, "callCount": calls}
            | ({"errorCount": errors} if errors else {})
            for parent, child, calls, errors in rows
        ]
    )
