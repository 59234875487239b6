"""Contexts on the wire: reading and writing them in everybody's headers."""

from .composite import extract, inject

__all__ = ["extract", "inject"]
