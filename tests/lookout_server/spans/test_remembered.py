"""What is remembered is right, and bounded."""

from __future__ import annotations

from lookout_server.spans import remembered
from lookout_server.spans.remembered import Remembered


def test_what_comes_again_is_asked_for_no_more() -> None:
    """The function is called for the first two times of a key, then never."""
    asked: list[str] = []

    def upper(text: str) -> str:
        asked.append(text)
        return text.upper()

    known: Remembered[str, str] = Remembered(upper, size=len)
    assert [known["a"], known["a"], known["a"], known["a"]] == ["A"] * 4
    assert asked == ["a", "a"]


def test_large_answers_are_not_kept() -> None:
    """However often they come: a sender cannot fill the memory with them."""
    known: Remembered[str, str] = Remembered(lambda text: text * 2, size=len)
    large = "x" * 200
    assert [known[large] for _ in range(5)] == [large * 2] * 5
    assert len(known) == 0


def test_no_more_than_a_bound_is_kept() -> None:
    """Keys that come twice each, more of them than the bound, leave at most as many as it."""
    known: Remembered[int, str] = Remembered(str, size=len)
    most = remembered._MOST
    for number in range(most + most // 2):
        assert (known[number], known[number]) == (str(number), str(number))
    assert 0 < len(known) <= most
