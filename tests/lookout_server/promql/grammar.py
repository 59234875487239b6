"""Random PromQL queries that are valid: well-formed and well-typed.

`queries` draws from the whole language; a `Vocabulary` restricts it to metrics, labels and
functions that some other part of a test knows about.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from lookout_server.query.prometheus.features import ALL, Features
from lookout_server.query.prometheus.quoting import quote
from lookout_server.query.prometheus.signatures import FUNCTIONS, Function
from lookout_server.query.prometheus.types import ValueType

ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
SETS = ("and", "or", "unless")
TRIMS = ("</", ">/")
PLAIN_AGGREGATIONS = ("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar")

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Vocabulary:
    """What queries may speak of."""

    metrics: Sequence[str] = ("up", "http_requests_total", "job:rate:5m", "sum", "offset", "by")
    labels: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=lambda: {
            "job": ("api", "db"),
            "le": ("0.5", "+Inf"),
            "and": ("", "x y"),
            "a.b": ('"', "\\", "\n"),
            "größe": ("ß", "日本"),
        }
    )
    functions: Sequence[str] = tuple(sorted(FUNCTIONS))
    durations: Sequence[str] = ("1ms", "30s", "5m", "1h30m", "1d", "2w", "1y", "90", "0.5")
    duration_arithmetic: bool = True
    numbers: Sequence[str] = (
        *("0", "1", "2.5", ".5", "1e3", "1E-3", "0x1F", "017", "1_000", "Inf", "nan", "5m"),
        *("123456789012345678901234567890",),
    )
    strings: Sequence[str] = ("", "x", "$1", 'a"b', "line\nbreak", "\udcff", "日本")


@dataclass(frozen=True)
class Grammar:
    """Draws expressions of each type; ``depth`` bounds how far they nest."""

    draw: Draw
    words: Vocabulary
    features: Features

    def expression(self, depth: int) -> str:
        kinds = [self.scalar, self.vector, self.vector, self.matrix]
        kind = self.one_of(kinds)
        text: str = kind(depth)
        return text

    def one_of(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    # ------------------------------------------------------------------ scalars and strings

    def scalar(self, depth: int) -> str:
        if depth <= 0 or self.chance():
            return str(self.one_of(self.words.numbers))
        form = self.one_of(["call", "sign", "paren", "arithmetic", "comparison"])
        match form:
            case "call":
                return self.call(ValueType.SCALAR, depth)
            case "sign":
                return f"{self.one_of('+-')}{self.scalar(depth - 1)}"
            case "paren":
                return f"({self.scalar(depth - 1)})"
            case "arithmetic":
                operator = self.one_of((*ARITHMETIC, *TRIMS))  # the latter fail when they run
                return f"{self.scalar(depth - 1)} {operator} {self.scalar(depth - 1)}"
        left, right = self.scalar(depth - 1), self.scalar(depth - 1)
        return f"({left}) {self.one_of(COMPARISONS)} bool ({right})"

    def string(self) -> str:
        text = self.one_of(self.words.strings)
        raw = text.isprintable() and "`" not in text
        return f"`{text}`" if raw and self.chance() else quote(text)

    # ------------------------------------------------------------------ vectors

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector() + self.modifiers(extended=True)
        form = self.one_of(["select", "call", "call", "aggregate", "binary", "sign", "paren"])
        match form:
            case "select":
                return self.selector() + self.modifiers(extended=True)
            case "call":
                return self.call(ValueType.VECTOR, depth)
            case "aggregate":
                return self.aggregation(depth)
            case "binary":
                return self.binary(depth)
            case "sign":
                return f"-{self.vector(depth - 1)}"
        return f"({self.vector(depth - 1)})"

    def binary(self, depth: int) -> str:
        form = self.one_of(["set", "matched", "matched", "left scalar", "right scalar"])
        left, right = f"({self.vector(depth - 1)})", f"({self.vector(depth - 1)})"
        match form:
            case "set":
                return f"{left} {self.one_of(SETS)}{self.on()} {right}"
            case "left scalar":
                left = f"({self.scalar(depth - 1)})"
            case "right scalar":
                right = f"({self.scalar(depth - 1)})"
        operator = self.one_of((*ARITHMETIC, *COMPARISONS, *TRIMS))
        if operator in COMPARISONS and self.chance():
            operator += " bool"
        matching = self.matching() if form == "matched" else ""
        return f"{left} {operator}{matching} {right}"

    def on(self) -> str:
        if not self.chance():
            return ""
        return f" {self.one_of(['on', 'ignoring'])} ({self.label_list()})"

    def matching(self) -> str:
        clause = f" {self.one_of(['on', 'ignoring'])} ({self.label_list(['job'])})"
        text = clause if self.chance() else ""
        if text and self.chance():
            group = self.one_of(["group_left", "group_right"])
            labels = [label for label in self.words.labels if label != "job"]
            text += f" {group} ({self.label_list(labels)})"
        return text + self.fill()

    def fill(self) -> str:
        if not self.features.fill_modifiers or not self.chance():
            return ""
        names = self.one_of([["fill"], ["fill_left"], ["fill_right"], ["fill_right", "fill_left"]])
        return "".join(f" {name}({self.one_of(['0', '-1.5', 'NaN', '5m'])})" for name in names)

    def label_list(self, labels: Sequence[str] | None = None) -> str:
        options = list(self.words.labels if labels is None else labels)
        if not options:
            return ""
        chosen = self.draw(st.lists(st.sampled_from(options), unique=True, max_size=2))
        return ", ".join(
            label if label.isidentifier() and label.isascii() else quote(label) for label in chosen
        )

    def aggregation(self, depth: int) -> str:
        operators = [*PLAIN_AGGREGATIONS, "topk", "bottomk", "quantile", "count_values"]
        if self.features.experimental_functions:
            operators += ["limitk", "limit_ratio"]
        operator = self.one_of(operators)
        args = self.vector(depth - 1)
        if operator == "count_values":
            args = f"{self.string()}, {args}"
        elif operator not in PLAIN_AGGREGATIONS:
            args = f"{self.scalar(depth - 1)}, {args}"
        shown = operator.upper() if self.chance() else operator
        if self.chance():
            return f"{shown}({args})"
        grouping = f"{self.one_of(['by', 'without'])} ({self.label_list()})"
        return f"{shown} {grouping} ({args})" if self.chance() else f"{shown}({args}) {grouping}"

    def call(self, returns: ValueType, depth: int) -> str:
        options = [
            FUNCTIONS[name]
            for name in self.words.functions
            if FUNCTIONS[name].returns is returns
            and (self.features.experimental_functions or not FUNCTIONS[name].experimental)
        ]
        function = self.one_of(options)
        return f"{function.name}({', '.join(self.arguments(function, depth))})"

    def arguments(self, function: Function, depth: int) -> list[str]:
        most = len(function.arguments) + 1 if function.most is None else function.most
        count = self.draw(st.integers(function.fewest, most))
        if function.name == "info":
            return [self.vector(depth - 1), '{job=~".+"}'][:count]
        return [self.of_type(function.argument_type(index), depth - 1) for index in range(count)]

    def of_type(self, wanted: ValueType, depth: int) -> str:
        match wanted:
            case ValueType.SCALAR:
                return self.scalar(depth)
            case ValueType.VECTOR:
                return self.vector(depth)
            case ValueType.MATRIX:
                return self.matrix(depth)
        return self.string()

    # ------------------------------------------------------------------ selectors

    def selector(self) -> str:
        if not self.chance():
            return f'{{__name__=~".+"{self.matchers(leading=True)}}}'
        name = self.one_of(self.words.metrics)
        return f"{name}{{{self.matchers()}}}" if self.chance() else str(name)

    def matchers(self, *, leading: bool = False) -> str:
        names = self.draw(st.lists(st.sampled_from(sorted(self.words.labels)), max_size=2))
        parts = [self.matcher(name) for name in names]
        return "".join(f",{part}" for part in parts) if leading else ",".join(parts)

    def matcher(self, name: str) -> str:
        operator = self.one_of(["=", "!=", "=~", "!~"])
        value = self.one_of(self.words.labels[name])
        if "~" in operator:
            value = self.one_of(["", ".*", "a|b", "x.+"])
        plain = name.isidentifier() and name.isascii()
        return f"{name if plain else quote(name)}{operator}{quote(value)}"

    def modifiers(self, *, extended: bool = False) -> str:
        parts = []
        if self.chance():
            parts.append(f" offset {self.offset()}")
        if self.chance():
            parts.append(f" @ {self.one_of(['start()', 'end()', '0', '1.5', '-2', '5m', '1e3'])}")
        if extended and self.features.extended_range_selectors and self.chance():
            parts.append(f" {self.one_of(['anchored', 'smoothed'])}")
        ordered: list[str] = self.draw(st.permutations(parts))
        return "".join(ordered)

    def offset(self) -> str:
        if self.words.duration_arithmetic and self.chance():
            return f"({self.duration(1)})"
        return f"{self.one_of(['', '-', '+'])}{self.one_of(self.words.durations)}"

    def matrix(self, depth: int) -> str:
        if depth <= 0 or self.chance():
            return f"{self.selector()}[{self.span()}]{self.modifiers(extended=True)}"
        step = self.span() if self.chance() else ""
        return f"({self.vector(depth - 1)})[{self.span()}:{step}]{self.modifiers()}"

    def span(self) -> str:
        if self.words.duration_arithmetic and self.chance():
            return f"1h + {self.duration(1)}"
        return str(self.one_of(self.words.durations))

    def duration(self, depth: int) -> str:
        if depth <= 0 or self.chance():
            return str(self.one_of([*self.words.durations, "step()", "range()"]))
        left, right = self.duration(depth - 1), self.duration(depth - 1)
        forms = [
            f"{left} {self.one_of('+-*/%^')} {right}",
            f"({left})",
            f"-{left}",
            f"min_of({left}, {right})",
            f"max_of({left}, {right})",
        ]
        return str(self.one_of(forms))


@st.composite
def queries(
    draw: Draw,
    words: Vocabulary | None = None,
    features: Features = ALL,
    depth: int = 3,
) -> str:
    """Valid queries.

    Args:
        draw: given by Hypothesis.
        words: the metrics, labels, functions and literals to use.
        features: the experimental syntax to use.
        depth: how far expressions may nest.
    """
    return Grammar(draw, words or Vocabulary(), features).expression(depth)
