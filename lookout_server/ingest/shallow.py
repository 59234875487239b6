"""Protobuf messages described by hand, as shallowly as their reader wants them.

They are described rather than generated, because a length-delimited field may as well be read as
bytes, and a message of bytes fields parses at the speed of memcpy. What repeats from message to
message (labels, attributes) can then be remembered by its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bytes": _F.TYPE_BYTES,
    "string": _F.TYPE_STRING,
    "double": _F.TYPE_DOUBLE,
    "fixed64": _F.TYPE_FIXED64,
    "int64": _F.TYPE_INT64,
    "uint64": _F.TYPE_UINT64,
    "uint32": _F.TYPE_UINT32,
    "int32": _F.TYPE_INT32,
    "sint32": _F.TYPE_SINT32,
    "sint64": _F.TYPE_SINT64,
}

#: message -> field -> (number, type); a leading "*" means repeated, other names are messages.
Messages: TypeAlias = Mapping[str, Mapping[str, tuple[int, str]]]
#: message -> name -> fields of which exactly one is set.
Oneofs: TypeAlias = Mapping[str, Mapping[str, tuple[str, ...]]]


def message_classes(package: str, messages: Messages, oneofs: Oneofs | None = None) -> Any:
    """The classes of the messages by their names, in a pool of their own."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_describe(package, messages, oneofs or {}))
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def _describe(
    package: str, messages: Messages, oneofs: Oneofs
) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, package, field, number, kind)
        for oneof, members in oneofs.get(name, {}).items():
            message.oneof_decl.add(name=oneof)
            for member in message.field:
                if member.name in members:
                    member.oneof_index = len(message.oneof_decl) - 1
    return file


def _add_field(
    message: descriptor_pb2.DescriptorProto, package: str, name: str, number: int, kind: str
) -> None:
    label = _F.LABEL_REPEATED if kind.startswith("*") else _F.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind in _TYPES:
        message.field.add(name=name, number=number, label=label, type=_TYPES[kind])
    else:
        message.field.add(
            name=name,
            number=number,
            label=label,
            type=_F.TYPE_MESSAGE,
            type_name=f".{package}.{kind}",
        )
