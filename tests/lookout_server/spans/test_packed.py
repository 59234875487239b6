"""Texts that wait packed come back as they were."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.spans.packed import Texts
from lookout_server.spans.united import united_texts

_TEXT = st.text(st.sampled_from(["a", "é", "\0", "日", "\U0001f600"]), max_size=4)


@settings(deadline=None)
@given(st.lists(st.lists(_TEXT, max_size=5), max_size=6))
def test_texts_of_bodies_are_united_in_order_whatever_is_in_them(bodies: list[list[str]]) -> None:
    """NUL, empty texts and bodies without any included: the batch has each text of each body."""
    united = united_texts([Texts(texts) for texts in bodies])
    united.validate(full=True)
    assert united.to_pylist() == [text for texts in bodies for text in texts]
