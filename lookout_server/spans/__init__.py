"""Spans on the server: the model, columns, tables and the signal that joins them."""
