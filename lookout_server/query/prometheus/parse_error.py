"""What may be wrong with a query before it is evaluated."""

from __future__ import annotations

from .position import locate


class ParseError(ValueError):
    """A query that is not PromQL; its text is ``line:column: parse error: reason``.

    Attributes:
        reason: what is wrong.
        query: the whole query.
        start: the offset of the offending place, in characters.
    """

    def __init__(self, reason: str, query: str, start: int) -> None:
        super().__init__(f"{locate(query, start)}: parse error: {reason}")
        self.reason = reason
        self.query = query
        self.start = start
