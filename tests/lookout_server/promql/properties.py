"""How properties are tested: the same examples each time, however slow the machine."""

from __future__ import annotations

from hypothesis import settings

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
THOROUGH = settings(PROPERTY, max_examples=150)
