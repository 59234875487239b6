"""Why a query fails, typed by what the HTTP API answers."""

from __future__ import annotations

from typing import ClassVar


class QueryError(Exception):
    """A query that cannot be answered; its text is the API's ``error``."""

    error_type: ClassVar[str] = "execution"  # the API's ``errorType``
    status: ClassVar[int] = 422  # the HTTP status that belongs to it


class BadData(QueryError):
    """The query, or a parameter of it, is not valid."""

    error_type = "bad_data"
    status = 400


class ExecutionError(QueryError):
    """The query is valid but its data do not allow an answer."""


class TooManySamples(ExecutionError):
    """The query would hold more samples than the engine's limit at one moment."""

    def __init__(self, where: str = "query execution") -> None:
        super().__init__(f"query processing would load too many samples into memory in {where}")


class QueryTimeout(QueryError):
    """The query ran longer than its timeout."""

    error_type = "timeout"
    status = 503

    def __init__(self, where: str = "expression evaluation") -> None:
        super().__init__(f"query timed out in {where}")


class QueryCanceled(QueryError):
    """Nobody waits for the answer any more."""

    error_type = "canceled"
    status = 499

    def __init__(self, where: str = "expression evaluation") -> None:
        super().__init__(f"query was canceled in {where}")


class StorageError(QueryError):
    """The store failed; nothing is wrong with the query."""

    error_type = "internal"
    status = 500
