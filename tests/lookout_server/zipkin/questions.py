"""Random spans and random questions about them, for a real Zipkin server and us.

Small pools of everything, so that ids collide, halves meet and conditions hit. Times and names
are placed into a slot of their own for each example, so that no example sees another's spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

HOUR_US = 3_600_000_000
START_US = 1_700_006_400_000_000
#: Hours of a slot: spans lie in the third, questions look back over up to two.
SLOT_HOURS = 6

_KINDS = st.sampled_from([None, None, "CLIENT", "SERVER", "PRODUCER", "CONSUMER"])
#: Each list has the plain first and often, then what codecs, keys and separators may trip over.
_LONG = "long" * 100
_ASKED = ["ÅŁ|İ=,ß", "日本\U0001f600", _LONG, "a\x1fb", " \n", "null", "'\"\\"]
_ODD = [*_ASKED, "x\x00y"]  # that one Zipkin's HTTP server takes in a body, but in no URL
_SERVICES = st.sampled_from(["a", "b", "C", "", None] * 3 + _ODD)
_NAMES = st.sampled_from(["get", "Put", "", "all", "unknown", None] * 3 + _ODD)
_KEYS = st.sampled_from(["k", "error", "K", "a=b", "http.path", "ø"] * 3 + ["", "=", *_ODD])
_VALUES = st.sampled_from(
    ["x", "X", "", "false", "1", "a=b", " x ", "y and z", "µ'\"\\\t"] * 2 + _ODD
)
_EDGES_US = st.sampled_from(
    [0, 1, 999, 1000, 299_999_999, 300_000_000, 300_000_001, 600_000_000, HOUR_US - 1]
)
_OFFSETS_US = _EDGES_US | st.integers(0, HOUR_US - 1)
_DURATIONS = st.sampled_from([None, 0, 1, 99, 100, 101, 1000, 60_000_000, 2**40, -1, 2**63 - 1])
#: Times of traces whose clock is wrong: soon after 1970, 2001, 2100, the year 33,658.
_STRANGE_US = (1, 10**15, 4_102_444_800_000_000, 10**18)


@dataclass(frozen=True)
class Slot:
    """One example's place in time and among names."""

    number: int

    @property
    def start_us(self) -> int:
        return START_US + self.number * SLOT_HOURS * HOUR_US

    def service(self, name: str) -> str:
        return f"{name}-{self.number}" if name else name

    def trace_id(self, high: int, low: int) -> str:
        """``high`` 0 gives a 64-bit id."""
        digits = f"{self.number + 1:08x}{low:08x}"
        return f"{high:016x}{digits}" if high else digits


@st.composite
def batches(draw: st.DrawFn, slot: Slot) -> list[list[dict[str, Any]]]:
    """One to three messages with spans of a few traces, some of them sent again."""
    count = draw(st.integers(1, 4))
    spans = [span for low in range(1, count + 1) for span in draw(_trace(slot, low))]
    # Of several roots the one that came first dates a trace in Zipkin, the earliest does here; and
    # of pieces that contradict each other it is the same with what is believed.
    disputed = _several_roots(spans) or _contradictions(spans)
    spans = sorted(spans, key=_time) if disputed else draw(st.permutations(spans))
    # A span without timestamp is kept where its trace is if it comes with it: see docs/zipkin.md.
    most = 2 if all(_time(span) for span in spans) else 0
    cuts = sorted(draw(st.lists(st.integers(0, len(spans)), max_size=most)))
    found = [spans[at:to] for at, to in zip([0, *cuts], [*cuts, len(spans)], strict=True)]
    if draw(st.booleans()):
        found.append(spans[:2])
    return [batch for batch in found if batch]


def _time(span: dict[str, Any]) -> int:
    """Unix us; 0 where there is none, or none that counts."""
    return max(int(span.get("timestamp", 0)), 0)


def _several_roots(spans: list[dict[str, Any]]) -> bool:
    times: dict[str, set[int]] = {}
    for span in spans:
        if span.get("parentId", span["id"]) == span["id"] and _time(span):
            times.setdefault(span["traceId"][-16:], set()).add(_time(span))
    return any(len(found) > 1 for found in times.values())


def _contradictions(spans: list[dict[str, Any]]) -> bool:
    """Whether a span is there twice, with another kind or remote service."""
    said: dict[tuple[Any, ...], set[Any]] = {}
    for span in spans:
        remote = span.get("remoteEndpoint", {}).get("serviceName")
        for name, value in (("kind", span.get("kind")), ("remote", remote)):
            if value:
                said.setdefault((span["traceId"][-16:], span["id"], name), set()).add(value)
    return any(len(values) > 1 for values in said.values())


@st.composite
def _trace(draw: st.DrawFn, slot: Slot, low: int) -> list[dict[str, Any]]:
    start = draw(st.sampled_from([slot.start_us + 2 * HOUR_US] * 12 + list(_STRANGE_US)))
    begin = start + draw(_OFFSETS_US)
    highs = draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=2))
    size = draw(st.integers(1, 7))
    return [
        draw(_span(slot, draw(st.sampled_from(highs)), low, begin, number))
        for number in range(1, size + 1)
    ]


@st.composite
def _span(
    draw: st.DrawFn, slot: Slot, high: int, low: int, begin: int, number: int
) -> dict[str, Any]:
    # Ids are few, so that two spans have one: shared halves, pieces, or plain contradictions.
    span: dict[str, Any] = {
        "traceId": slot.trace_id(high, low),
        "id": f"{draw(st.sampled_from([number, number, number, max(number - 1, 1)])):x}",
    }
    parent = draw(
        st.integers(0, number + 1)
    )  # its own id, later ones (loops) and strange ones, too
    if parent:
        span["parentId"] = f"{parent if draw(st.booleans()) else 99:x}"
    late = draw(st.sampled_from([0, 0, 1, 500, 1_000_000, 400_000_000]))
    found = {
        "kind": draw(_KINDS),
        "name": draw(_NAMES),
        "timestamp": draw(st.sampled_from([begin + late] * 14 + [None, None, 0, -5])),
        "duration": draw(_DURATIONS),
        "localEndpoint": draw(_endpoint(slot)),
        "remoteEndpoint": draw(_endpoint(slot)),
        "tags": draw(st.dictionaries(_KEYS, _VALUES, max_size=3)) or None,
        "annotations": draw(_annotations(begin)) or None,
        "debug": draw(st.sampled_from([None, None, True, False])),
        "shared": draw(st.sampled_from([None, None, True])),
    }
    return span | {name: value for name, value in found.items() if value is not None}


_OFTEN = st.sampled_from([True] * 7 + [False])


@st.composite
def _endpoint(draw: st.DrawFn, slot: Slot) -> dict[str, Any] | None:
    service = draw(_SERVICES)
    if service is None:
        return None
    endpoint: dict[str, Any] = {"serviceName": slot.service(service)}
    if draw(st.booleans()):
        endpoint["ipv4"] = draw(st.sampled_from(["1.2.3.4", "5.6.7.8", "nowhere"]))
    if draw(st.sampled_from([False, False, True])):
        endpoint["ipv6"] = draw(st.sampled_from(["2001:db8::c001", "::ffff:9.9.9.9"]))
    if draw(st.booleans()):
        endpoint["port"] = draw(st.sampled_from([80, 0, 65535]))
    return endpoint


@st.composite
def _annotations(draw: st.DrawFn, begin: int) -> list[dict[str, Any]]:
    values = draw(st.lists(st.sampled_from(["k", "error", "hit", "x"] * 3 + _ODD), max_size=2))
    return [{"timestamp": begin + at, "value": value} for at, value in enumerate(values)]


@st.composite
def questions(draw: st.DrawFn, slot: Slot, spans: list[dict[str, Any]]) -> str:
    """A path below /api/v2, of any endpoint, mostly a search."""
    what = draw(st.sampled_from(["traces"] * 6 + ["dependencies"] * 2 + _OTHERS))
    if what == "traces":
        return f"traces?{urlencode(draw(_search(slot, spans)))}"
    if what == "dependencies":
        # Of a range with 1970 in it the answers differ, as docs/zipkin.md says.
        windows = _window(slot, spans).filter(lambda w: w["endTs"] > w["lookback"])
        return f"dependencies?{urlencode(draw(windows))}"
    if what == "malformed":
        return draw(_malformed(slot))
    trace_ids = st.sampled_from([span["traceId"] for span in spans] + [slot.trace_id(3, 1)])
    if what == "trace":
        return f"trace/{draw(st.sampled_from(['', '', '0', '%20']))}{draw(trace_ids)}"
    if what == "many":
        return f"traceMany?traceIds={','.join(draw(st.lists(trace_ids, max_size=3)))}"
    if what == "names":
        service = slot.service(draw(st.sampled_from(["a", "b", "C", "c", *_ASKED])))
        name = draw(st.sampled_from(["spans", "remoteServices"]))
        return f"{name}?{urlencode({'serviceName': service})}"
    return draw(st.sampled_from(["services", "autocompleteKeys", "autocompleteValues?key=k"]))


_OTHERS = ["trace", "names", "names", "many", "lists", "malformed", "malformed"]


@st.composite
def _window(draw: st.DrawFn, slot: Slot, spans: list[dict[str, Any]]) -> dict[str, Any]:
    """endTs and lookback, that often touch a span's time or the edge of five minutes."""
    end_us = slot.start_us + 2 * HOUR_US + draw(_OFFSETS_US)
    end_us = draw(st.sampled_from([end_us, *filter(None, map(_time, spans))]))
    end_ms = (end_us + draw(st.sampled_from([0, 999, 500_000]))) // 1000
    lookback = draw(st.sampled_from([1, 2, 1000, 60_000, 300_000, 900_000, HOUR_US // 1000]))
    return {"endTs": max(end_ms, 1), "lookback": lookback}


_WRONG = [
    "", " ", "x", "-1", "0", "-0", "1.0", "1e3", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "-2147483649", "0x10", "1_0", "1 ", "null", "--1", "+", "9" * 99,
]  # fmt: skip
_STRANGE = ["+5", "007", "9223372036854775807", "2147483647", "2147483648", "\u0663", "\uff11"]
_IDS = st.sampled_from(
    ["", "0", "1", "x", "ABC", "a" * 16, "a" * 17, "a" * 32, "a" * 33, "0" * 16, "0" * 32,
     "0" * 31 + "1", "-1", "0x1", " 1", "1 ", "\u0661", "1.0", "null"]
)  # fmt: skip
_NUMBERED = {"traces": ("endTs", "lookback", "limit", "minDuration", "maxDuration")}
_NUMBERED["dependencies"] = ("endTs", "lookback")


@st.composite
def _malformed(draw: st.DrawFn, slot: Slot) -> str:
    """A question with something missing, doubled or out of range."""
    what = draw(st.sampled_from(["traces"] * 3 + ["dependencies", "trace", "many", "names"]))
    if what == "trace":
        return f"trace/{quote(draw(_IDS.filter(bool)), safe='')}"
    if what == "many":
        return f"traceMany?{urlencode({'traceIds': ','.join(draw(st.lists(_IDS, max_size=3)))})}"
    if what == "names":
        name = draw(st.sampled_from(["spans", "remoteServices", "autocompleteValues"]))
        key = "key" if name == "autocompleteValues" else "serviceName"
        pairs = draw(st.lists(st.sampled_from([(key, ""), (key, "nope"), (key.upper(), "a")])))
        return f"{name}?{urlencode(pairs)}"
    found = [(name, str(value)) for name, value in draw(_window(slot, [])).items()]
    # Strange numbers would have much match and reach back to 1970, so nothing is to match.
    service = {"serviceName": "nobody"} if what == "traces" else {}
    numbers = st.sampled_from(_WRONG + _STRANGE * bool(service))
    names = draw(st.lists(st.sampled_from(_NUMBERED[what]), min_size=1, max_size=2))
    found += [(name, draw(numbers)) for name in names]
    return f"{what}?{urlencode([*draw(st.permutations(found)), *service.items()])}"


_TERMS = st.sampled_from(
    ["k=x", "k", "K=X", "error", "error=", "error=false", "hit", "a=b", "a=b=x", "k=x and k=X",
     "k and hit", "k=x and error", " k = x ", "=x", " and ", "k= x ", "k=y and z", "k AND hit",
     "http.path=a=b", "ø=1", "nope", "k='\"\\", "k=µ'\"\\\t", "x and k", "ø"]
    + [form for odd in _ASKED for form in (odd, f"k={odd}", f"{odd}=x", f"{odd}={odd}")]
)  # fmt: skip


@st.composite
def _search(draw: st.DrawFn, slot: Slot, spans: list[dict[str, Any]]) -> dict[str, Any]:
    found = draw(_window(slot, spans)) if draw(_OFTEN) else {
        "endTs": slot.start_us // 1000 + 3 * 3_600_000, "lookback": 2 * 3_600_000
    }  # fmt: skip
    # With every condition at once hardly anything matches: mostly one or two.
    wanted = draw(st.sets(st.sampled_from("srnqd"), max_size=2) | st.sets(st.sampled_from("srnqd")))
    if "s" in wanted:
        found["serviceName"] = slot.service(draw(st.sampled_from(["a", "B", "c", "", *_ASKED])))
    if "r" in wanted:
        found["remoteServiceName"] = slot.service(draw(st.sampled_from(["a", "B", "", *_ASKED])))
    if "n" in wanted:
        found["spanName"] = draw(
            st.sampled_from(["get", "PUT", "all", "ALL", "", "unknown", *_ASKED])
        )
    if "q" in wanted:
        found["annotationQuery"] = draw(_TERMS)
    if "d" in wanted:
        found["minDuration"] = draw(
            st.sampled_from([1, 99, 100, 101, 60_000_000, 2**63 - 1, -1, ""])
        )
        if draw(st.booleans()):
            found["maxDuration"] = draw(st.sampled_from([1, 100, 101, 2**40, 2**63 - 1]))
    elif draw(st.sampled_from([False] * 9 + [True])):
        found["maxDuration"] = 5
    found["limit"] = draw(st.sampled_from([1, 2, 100, 100, 100, 0, "x"]))
    return found
