"""Numbers in protobuf's wire format."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.ingest.wire import WireReader, varint


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(number: int) -> None:
    """What is written is what protobuf writes, and is read as the same 64 bits."""
    field = UInt64Value(value=number).SerializeToString()
    assert varint(number) == (field[1:] or b"\0")
    assert WireReader(varint(number)).varint64() % 2**64 == number
