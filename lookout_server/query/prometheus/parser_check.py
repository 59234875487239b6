"""Checks a parsed tree: types of operands, numbers of arguments, matchers of selectors."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from . import tree
from .parse_error import ParseError
from .quoting import quote
from .types import ValueType

_OPERANDS = (ValueType.SCALAR, ValueType.VECTOR)


def check(expr: tree.Expr, query: str) -> tree.Expr:
    """The tree with what follows from the types filled in.

    The matching of a binary operation is dropped unless both sides are vectors, and is
    many-to-many for set operators; the selector of ``info()`` is marked as such.

    Raises:
        ParseError: something does not fit together.
    """
    return _Checker(query).check(expr)


class _Checker:
    def __init__(self, query: str) -> None:
        self._query = query

    def check(self, expr: tree.Expr) -> tree.Expr:
        match expr:
            case tree.Aggregate():
                return self._aggregate(expr)
            case tree.Binary():
                return self._binary(expr)
            case tree.Call():
                return self._call(expr)
            case tree.Paren():
                return replace(expr, expr=self.check(expr.expr))
            case tree.Unary():
                return self._unary(expr)
            case tree.Subquery():
                return self._subquery(expr)
            case tree.MatrixSelector():
                self._selector(expr.selector)
            case tree.VectorSelector():
                self._selector(expr)
        return expr

    def _fail(self, reason: str, start: int) -> NoReturn:
        raise ParseError(reason, self._query, start)

    def _expect(self, expr: tree.Expr, wanted: ValueType, context: str) -> tree.Expr:
        checked = self.check(expr)
        self._require_type(checked, wanted, context, checked.start)
        return checked

    def _require_type(self, expr: tree.Expr, wanted: ValueType, context: str, start: int) -> None:
        if expr.type is not wanted:
            got = expr.type.documented
            self._fail(f"expected type {wanted.documented} in {context}, got {got}", start)

    # ------------------------------------------------------------------ kinds of nodes

    def _aggregate(self, expr: tree.Aggregate) -> tree.Aggregate:
        operand = self._expect(expr.expr, ValueType.VECTOR, "aggregation expression")
        param = expr.param
        if param is not None:
            counts = expr.op is tree.AggregateOp.COUNT_VALUES
            wanted = ValueType.STRING if counts else ValueType.SCALAR
            param = self._expect(param, wanted, "aggregation parameter")
        return replace(expr, expr=operand, param=param)

    def _unary(self, expr: tree.Unary) -> tree.Unary:
        operand = self.check(expr.expr)
        if operand.type not in _OPERANDS:
            self._fail(
                "unary expression only allowed on expressions of type scalar or instant vector, "
                f"got {quote(operand.type.documented)}",
                expr.start,
            )
        return replace(expr, expr=operand)

    def _subquery(self, expr: tree.Subquery) -> tree.Subquery:
        operand = self.check(expr.expr)
        if operand.type is not ValueType.VECTOR:
            self._fail(
                f"subquery is only allowed on instant vector, got {operand.type} instead",
                expr.start,
            )
        return replace(expr, expr=operand)

    def _selector(self, selector: tree.VectorSelector) -> None:
        if selector.name:
            for matcher in selector.matchers[:-1]:
                if matcher.name == "__name__":
                    names = f"{quote(selector.name)} or {quote(matcher.value)}"
                    self._fail(f"metric name must not be set twice: {names}", selector.start)
        elif not selector.is_info_selector and all(m.matches_empty for m in selector.matchers):
            reason = "vector selector must contain at least one non-empty matcher"
            self._fail(reason, selector.start)

    # ------------------------------------------------------------------ calls

    def _call(self, expr: tree.Call) -> tree.Call:
        self._count_arguments(expr)
        if expr.function.name == "info" and len(expr.args) > 1:
            expr = self._info(expr)
        context = f"call to function {quote(expr.function.name)}"
        args = tuple(
            self._expect(arg, expr.function.argument_type(index), context)
            for index, arg in enumerate(expr.args)
        )
        return replace(expr, args=args)

    def _count_arguments(self, expr: tree.Call) -> None:
        function, got = expr.function, len(expr.args)
        fewest, most = function.fewest, function.most
        if fewest == most:
            quantity, wanted = "", fewest
        elif got < fewest:
            quantity, wanted = "at least ", fewest
        elif most is not None and got > most:
            quantity, wanted = "at most ", most
        else:
            return
        if got != wanted:
            name = quote(function.name)
            self._fail(
                f"expected {quantity}{wanted} argument(s) in call to {name}, got {got}", expr.start
            )

    def _info(self, expr: tree.Call) -> tree.Call:
        """The second argument of ``info()`` selects data labels, not series."""
        base, selector, *rest = expr.args
        self._require_type(
            selector, ValueType.VECTOR, f"call to function {quote('info')}", expr.start
        )
        if not isinstance(selector, tree.VectorSelector):
            self._fail("expected label selectors only", selector.start)
        if selector.name:
            self._fail("expected label selectors only, got vector selector instead", selector.start)
        return replace(expr, args=(base, replace(selector, is_info_selector=True), *rest))

    # ------------------------------------------------------------------ binary operations

    def _binary(self, expr: tree.Binary) -> tree.Binary:
        left, right = self.check(expr.left), self.check(expr.right)
        expr = replace(expr, left=left, right=right)
        matching = expr.matching or tree.VectorMatching()
        self._check_comparison(expr, matching)
        for side in (left, right):
            if side.type not in _OPERANDS:
                self._fail(
                    "binary expression must contain only scalar and instant vector types",
                    side.start,
                )
        if left.type is ValueType.VECTOR and right.type is ValueType.VECTOR:
            return replace(expr, matching=self._vector_matching(expr, matching))
        self._require_no_matching(expr, matching)
        return replace(expr, matching=None)

    def _check_comparison(self, expr: tree.Binary, matching: tree.VectorMatching) -> None:
        if expr.return_bool and not expr.op.is_comparison:
            self._fail_at_operator(expr, "bool modifier can only be used on comparison operators")
        scalars = expr.left.type is ValueType.SCALAR and expr.right.type is ValueType.SCALAR
        if expr.op.is_comparison and not expr.return_bool and scalars:
            self._fail_at_operator(expr, "comparisons between scalars must use BOOL modifier")
        for label in matching.labels if matching.on else ():
            if label in matching.include:
                self._fail_at_operator(
                    expr, f"label {quote(label)} must not occur in ON and GROUP clause at once"
                )

    def _vector_matching(
        self, expr: tree.Binary, matching: tree.VectorMatching
    ) -> tree.VectorMatching:
        if not expr.op.is_set:
            return matching
        if matching.cardinality is not tree.Cardinality.ONE_TO_ONE:
            self._fail(f"no grouping allowed for {quote(expr.op)} operation", expr.start)
        if _fills(matching):
            self._fail("filling in missing series not allowed for set operators", expr.start)
        return replace(matching, cardinality=tree.Cardinality.MANY_TO_MANY)

    def _require_no_matching(self, expr: tree.Binary, matching: tree.VectorMatching) -> None:
        if matching.labels:
            self._fail("vector matching only allowed between instant vectors", expr.start)
        if _fills(matching):
            self._fail("filling in missing series only allowed between instant vectors", expr.start)
        if expr.op.is_set:
            name = quote(expr.op)
            self._fail(f"set operator {name} not allowed in binary scalar expression", expr.start)

    def _fail_at_operator(self, expr: tree.Binary, reason: str) -> NoReturn:
        gap = self._query[expr.left.end :]
        self._fail(reason, expr.left.end + len(gap) - len(gap.lstrip()))


def _fills(matching: tree.VectorMatching) -> bool:
    return matching.fill_left is not None or matching.fill_right is not None
