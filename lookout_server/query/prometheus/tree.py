"""The syntax tree of a PromQL query.

Every node is immutable and knows where it stands: ``start`` and ``end`` are offsets into the
query in characters, ``end`` exclusive (`position.locate` turns one into ``line:column``).
Durations and timestamps are integers in milliseconds.

A range, step or offset written as a duration expression keeps it in the ``*_expr`` field beside
the number; the number is 0 until `duration.resolve` has evaluated it for a concrete query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .matchers import Matcher
from .signatures import Function
from .types import ValueType


class BinaryOp(StrEnum):
    """Binary operators; the value is how a query writes them."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    MOD = "%"
    POW = "^"
    ATAN2 = "atan2"
    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    GREATER = ">"
    LESS_EQUAL = "<="
    GREATER_EQUAL = ">="
    TRIM_UPPER = "</"
    TRIM_LOWER = ">/"
    AND = "and"
    OR = "or"
    UNLESS = "unless"

    @property
    def is_comparison(self) -> bool:
        return self in _COMPARISONS

    @property
    def is_set(self) -> bool:
        return self in _SETS

    @property
    def is_trim(self) -> bool:
        return self in _TRIMS


_COMPARISONS = frozenset(map(BinaryOp, ("==", "!=", "<", ">", "<=", ">=")))
_SETS = frozenset({BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS})
_TRIMS = frozenset({BinaryOp.TRIM_UPPER, BinaryOp.TRIM_LOWER})


class AggregateOp(StrEnum):
    """Aggregation operators; the value is how a query writes them."""

    SUM = "sum"
    AVG = "avg"
    COUNT = "count"
    MIN = "min"
    MAX = "max"
    GROUP = "group"
    STDDEV = "stddev"
    STDVAR = "stdvar"
    TOPK = "topk"
    BOTTOMK = "bottomk"
    COUNT_VALUES = "count_values"
    QUANTILE = "quantile"
    LIMITK = "limitk"
    LIMIT_RATIO = "limit_ratio"

    @property
    def has_parameter(self) -> bool:
        return self in _PARAMETERIZED

    @property
    def is_experimental(self) -> bool:
        return self in (AggregateOp.LIMITK, AggregateOp.LIMIT_RATIO)


_PARAMETERIZED = frozenset(
    map(AggregateOp, ("topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"))
)


class Cardinality(StrEnum):
    """How many series of one side of a binary operation may match one of the other."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


class Boundary(StrEnum):
    """The moment an ``@ start()`` or ``@ end()`` refers to."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A number; ``is_duration`` when it was written as one (``5m`` is 300)."""

    value: float
    is_duration: bool
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return ValueType.SCALAR


@dataclass(frozen=True, slots=True)
class StringLiteral:
    value: str
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return ValueType.STRING


@dataclass(frozen=True, slots=True)
class Paren:
    expr: Expr
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return self.expr.type


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign before a scalar or an instant vector; ``op`` is ``+`` or ``-``."""

    op: str
    expr: Expr
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return self.expr.type


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """How the series of both sides of a binary operation find each other.

    ``labels`` are those to match on, with ``on`` false those to ignore. ``include`` are the
    labels taken over from the "one" side. A fill value stands in for a missing partner.
    """

    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    labels: tuple[str, ...] = ()
    on: bool = False
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """``matching`` is None unless both sides are instant vectors."""

    op: BinaryOp
    left: Expr
    right: Expr
    matching: VectorMatching | None
    return_bool: bool
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        if self.left.type is ValueType.SCALAR and self.right.type is ValueType.SCALAR:
            return ValueType.SCALAR
        return ValueType.VECTOR


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """An instant selector. ``matchers`` include the one on ``__name__`` that ``name`` stands for.

    ``timestamp_ms`` is the number after ``@``, ``boundary`` its ``start()`` or ``end()``.
    ``is_info_selector`` marks the second argument of ``info()``, which needs no matcher at all.
    """

    name: str
    matchers: tuple[Matcher, ...]
    offset_ms: int
    offset_expr: DurationExpr | None
    timestamp_ms: int | None
    boundary: Boundary | None
    anchored: bool
    smoothed: bool
    is_info_selector: bool
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return ValueType.VECTOR


@dataclass(frozen=True, slots=True)
class MatrixSelector:
    """A range selector; offset, ``@``, ``anchored`` and ``smoothed`` are those of ``selector``."""

    selector: VectorSelector
    range_ms: int
    range_expr: DurationExpr | None
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return ValueType.MATRIX


@dataclass(frozen=True, slots=True)
class Subquery:
    """An expression evaluated over a range; ``step_ms`` 0 means the server's default step."""

    expr: Expr
    range_ms: int
    range_expr: DurationExpr | None
    step_ms: int
    step_expr: DurationExpr | None
    offset_ms: int
    offset_expr: DurationExpr | None
    timestamp_ms: int | None
    boundary: Boundary | None
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return ValueType.MATRIX


@dataclass(frozen=True, slots=True)
class Call:
    function: Function
    args: tuple[Expr, ...]
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return self.function.returns


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregation ``by`` the labels of ``grouping``, or ``without`` them."""

    op: AggregateOp
    expr: Expr
    param: Expr | None
    grouping: tuple[str, ...]
    without: bool
    start: int
    end: int

    @property
    def type(self) -> ValueType:
        return ValueType.VECTOR


@dataclass(frozen=True, slots=True)
class StepInvariant:
    """Marks an expression that is the same at every step; an engine may add it, no parser does."""

    expr: Expr

    @property
    def type(self) -> ValueType:
        return self.expr.type

    @property
    def start(self) -> int:
        return self.expr.start

    @property
    def end(self) -> int:
        return self.expr.end


@dataclass(frozen=True, slots=True)
class DurationUnary:
    """A sign before a duration; ``op`` is ``-``, for a ``+`` leaves no trace."""

    op: str
    operand: DurationExpr
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DurationBinary:
    """Arithmetic on durations in seconds; ``op`` is one of ``+ - * / % ^``."""

    op: str
    left: DurationExpr
    right: DurationExpr
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DurationCall:
    """``step()``, ``range()``, ``min_of(a, b)`` or ``max_of(a, b)``."""

    name: str
    args: tuple[DurationExpr, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DurationParen:
    expr: DurationExpr
    start: int
    end: int


DurationExpr: TypeAlias = (
    NumberLiteral | DurationUnary | DurationBinary | DurationCall | DurationParen
)
Expr: TypeAlias = (
    NumberLiteral
    | StringLiteral
    | Paren
    | Unary
    | Binary
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Call
    | Aggregate
    | StepInvariant
)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct operands of a node, in the order they are written."""
    match expr:
        case Paren() | Unary() | Subquery() | StepInvariant():
            return (expr.expr,)
        case Binary():
            return (expr.left, expr.right)
        case MatrixSelector():
            return (expr.selector,)
        case Call():
            return expr.args
        case Aggregate():
            return (expr.expr,) if expr.param is None else (expr.param, expr.expr)
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """All nodes of a tree, each before its operands."""
    yield expr
    for child in children(expr):
        yield from walk(child)


def selectors(expr: Expr) -> Iterator[VectorSelector]:
    """All instant selectors of a tree, those inside range selectors included."""
    return (node for node in walk(expr) if isinstance(node, VectorSelector))


def unwrap(expr: Expr) -> Expr:
    """An expression without the parentheses and step-invariance marks around it."""
    while isinstance(expr, Paren | StepInvariant):
        expr = expr.expr
    return expr
