"""Decoding of bodies, in the collector's process or in a second one beside it.

The second process imports :mod:`.worker` and what decoders need, and neither the database nor
the server; the collector's side begins at :mod:`.decoder`.
"""
