"""The tokens of PromQL and how error messages describe them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from .quoting import quote


class Kind(Enum):
    """What a token is. Words that are only sometimes keywords are told apart by their text."""

    END = auto()
    IDENTIFIER = auto()
    METRIC_IDENTIFIER = auto()  # contains a colon
    NUMBER = auto()
    DURATION = auto()
    STRING = auto()
    PUNCTUATION = auto()  # ( ) { } [ ] , : =
    OPERATOR = auto()  # binary operators, matchers and @
    AGGREGATOR = auto()
    KEYWORD = auto()
    CONTEXT = auto()  # start, end, step, range, min_of, max_of


OPERATOR_WORDS = frozenset({"and", "or", "unless", "atan2"})
AGGREGATORS = frozenset(
    {
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    }
)
KEYWORDS = frozenset(
    {
        "offset",
        "smoothed",
        "anchored",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "fill",
        "fill_left",
        "fill_right",
        "bool",
    }
)
CONTEXT_WORDS = frozenset({"start", "end", "step", "range", "min_of", "max_of"})
FILL_WORDS = frozenset({"fill", "fill_left", "fill_right"})

#: The words that may name a metric although they mean something elsewhere.
METRIC_WORDS = (
    AGGREGATORS
    | CONTEXT_WORDS
    | FILL_WORDS
    | {"and", "or", "unless", "by", "without", "offset", "anchored", "smoothed"}
)
#: The words that may name a label in a grouping clause although they mean something elsewhere.
LABEL_WORDS = (METRIC_WORDS - {"without"}) | {
    "atan2",
    "bool",
    "group_left",
    "group_right",
    "ignoring",
    "on",
}

_NOUNS = {
    Kind.IDENTIFIER: "identifier",
    Kind.METRIC_IDENTIFIER: "metric identifier",
    Kind.NUMBER: "number",
    Kind.DURATION: "duration",
    Kind.STRING: "string",
}
_LONGEST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it stands in the query; ``word`` is its text in lower case."""

    kind: Kind
    text: str
    start: int

    @property
    def word(self) -> str:
        return self.text.lower()

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def description(self) -> str:
        """How ``unexpected ...`` messages name the token."""
        if self.kind is Kind.END:
            return "end of input"
        noun = _NOUNS.get(self.kind)
        return f"{noun} {self._shown()}" if noun else self._shown()

    def _shown(self) -> str:
        match self.kind:
            case Kind.KEYWORD:
                return f"<{self.text}>"
            case Kind.OPERATOR:
                return f"<op:{self.text}>"
            case Kind.AGGREGATOR:
                return f"<aggr:{self.text}>"
            case Kind.IDENTIFIER | Kind.METRIC_IDENTIFIER:
                return quote(self.text)
        if len(self.text.encode("utf-8", "surrogateescape")) > _LONGEST_SHOWN:
            return quote(self.text[:_LONGEST_SHOWN]) + "..."
        return quote(self.text)
