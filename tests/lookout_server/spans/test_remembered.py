"""What is remembered is right, and bounded."""

from __future__ import annotations

from lookout_server.ingest import otlp_traces
from lookout_server.spans import fast, remembered
from lookout_server.spans.remembered import Remembered


def of_answer(key: object, answer: str) -> int:
    return len(answer)


def test_large_keys_are_not_kept_where_their_answers_are_small() -> None:
    """What a sender wrote around an address or a value is no way to fill the memory either."""
    junk = "x" * 100_000
    endpoint = fast.FastEndpoint(serviceName="a", ipv4=junk)
    # A key "k", a value "v" and a field that nobody knows.
    message = b"\n\x01k\x12\x03\n\x01v" + b"\x7a\xa0\x8d\x06" + junk.encode()
    before = len(fast.packed_endpoints), len(otlp_traces._pairs)
    for _ in range(3):
        assert fast.packed_endpoints[endpoint][0] == "a"
        assert otlp_traces._pairs[message] == ("k", "v")
    assert (len(fast.packed_endpoints), len(otlp_traces._pairs)) == before
    known = fast.FastEndpoint(serviceName="a", ipv4="1.2.3.4")
    assert fast.packed_endpoints[known] == fast.packed_endpoints[known]
    assert known in fast.packed_endpoints


def test_what_comes_again_is_asked_for_no_more() -> None:
    """The function is called for the first two times of a key, then never."""
    asked: list[str] = []

    def upper(text: str) -> str:
        asked.append(text)
        return text.upper()

    known: Remembered[str, str] = Remembered(upper, size=of_answer)
    assert [known["a"], known["a"], known["a"], known["a"]] == ["A"] * 4
    assert asked == ["a", "a"]


def test_large_answers_are_not_kept() -> None:
    """However often they come: a sender cannot fill the memory with them."""
    known: Remembered[str, str] = Remembered(lambda text: text * 2, size=of_answer)
    large = "x" * 300
    assert [known[large] for _ in range(5)] == [large * 2] * 5
    assert len(known) == 0


def test_no_more_than_a_bound_is_kept() -> None:
    """Keys that come twice each, more of them than the bound, leave at most as many as it."""
    known: Remembered[int, str] = Remembered(str, size=of_answer)
    most = remembered._MOST
    for number in range(most + most // 2):
        assert (known[number], known[number]) == (str(number), str(number))
    assert 0 < len(known) <= most
