"""Spans on the server: the model, columns, tables and the signal that joins them."""

from .signal import SpanSignal

__all__ = ["SpanSignal"]
