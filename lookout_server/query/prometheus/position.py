"""Places in a query, as errors and annotations name them."""

from __future__ import annotations


def locate(query: str, offset: int) -> str:
    """``line:column`` of a character offset; both count from 1, the column in UTF-8 bytes."""
    if not query:
        return "unknown position"
    before = query[:offset]
    line_start = before.rfind("\n") + 1
    column = len(before[line_start:].encode("utf-8", "surrogateescape")) + 1
    return f"{before.count(chr(10)) + 1}:{column}"
