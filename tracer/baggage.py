"""Baggage: small values a request carries from service to service.

Two groups are kept apart, as SOFATracer does: what the application set (``biz``) and what the
infrastructure set (``sys``). Only ``biz`` travels in the W3C ``baggage`` header.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

#: Limits of W3C Baggage, section "Limits": at least 64 list members and 8192 bytes in total.
MAX_MEMBERS = 64
MAX_BYTES = 8192

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Baggage(NamedTuple):
    """An immutable set of items; setting one gives a new Baggage."""

    biz: Mapping[str, str] = _NOTHING
    sys: Mapping[str, str] = _NOTHING
    properties: Mapping[str, str] = _NOTHING  # key -> W3C metadata after ";", passed on unchanged

    def with_item(self, key: str, value: str) -> Baggage:
        """With ``key`` set; unchanged where the item would break the limits."""
        biz = {**self.biz, key: value}
        return self if _too_large(biz) else self._replace(biz=biz)

    def with_sys_item(self, key: str, value: str) -> Baggage:
        """With the infrastructure's ``key`` set; unchanged where it would break the limits."""
        sys = {**self.sys, key: value}
        return self if _too_large(sys) else self._replace(sys=sys)

    def without_item(self, key: str) -> Baggage:
        """Without ``key``."""
        return self._replace(biz={k: v for k, v in self.biz.items() if k != key})

    def __bool__(self) -> bool:
        return bool(self.biz or self.sys)


EMPTY = Baggage()


def _too_large(items: Mapping[str, str]) -> bool:
    return len(items) > MAX_MEMBERS or sum(map(_wire_length, items.items())) > MAX_BYTES


def _wire_length(item: tuple[str, str]) -> int:
    """Bytes of ``key=value,``; a byte that must be escaped becomes three."""
    key, value = item
    encoded = value.encode("utf-8", "replace")
    plain = sum(byte in _UNESCAPED for byte in encoded)
    return len(key) + 2 + 3 * len(encoded) - 2 * plain


_UNESCAPED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
