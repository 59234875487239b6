"""Counts in words, as the commands print them."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 span``, ``2 spans``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
