"""What a network destination sends at once, ready for the wire, and how it fares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from .records import SpanRecord


@dataclass(slots=True)
class Parcel:
    """One request's body and what must be known to send it, now or after a restart."""

    body: bytes
    count: int  # records inside; 0 for what is not spans (metrics, a ledger report)
    process: str  # who made it: Ledger.process
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    ledger: str = ""  # the maker's ledger, as of when the parcel was put aside
    failures: int = 0
    #: How long one attempt may take; None for the sender's own limit, also after a restart.
    timeout_s: float | None = None

    def pack(self) -> bytes:
        """The parcel as a file: one line of JSON, then the body as it is."""
        fields = {"size": len(self.body)} | {name: getattr(self, name) for name in _KEPT}
        return msgspec.json.encode(fields) + b"\n" + self.body

    @classmethod
    def unpack(cls, data: bytes) -> Parcel:
        """The inverse of :meth:`pack`. Raises ValueError for anything else."""
        head, _, body = data.partition(b"\n")
        fields: dict[str, Any] = msgspec.json.decode(head, type=dict[str, Any])
        if fields.pop("size", None) != len(body) or set(fields) != set(_KEPT):
            raise ValueError("not a whole parcel")
        return cls(body=body, **fields)


_KEPT = ("count", "process", "path", "headers", "ledger")


class Refused(Exception):
    """The destination will never take this parcel.

    ``reason`` is the ledger's; ``status`` the HTTP status, 0 where there is none.
    """

    def __init__(self, message: str, reason: str, status: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class Unavailable(Exception):
    """The destination cannot take anything now.

    ``retry_after_s`` is its own wish, if it has one. ``answered`` tells that it did receive the
    parcel: one that fails again and again may be what is wrong. ``turns_away`` tells that it is
    up and takes nothing from us, for want of a token, a right or a tenant: people put that right.
    """

    def __init__(
        self,
        message: str,
        retry_after_s: float | None = None,
        *,
        answered: bool = False,
        turns_away: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.answered = answered
        self.turns_away = turns_away


class Transport(Protocol):
    """Wire format and connection of one kind of network destination.

    One thread at a time delivers, and one encodes, which may be another at the same moment.
    """

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        """The body for these records, and how many of them could not be put into it."""

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        """The body as it travels (compressed), the path it goes to, its headers."""

    def split(self, parcel: Parcel) -> Sequence[Parcel]:
        """Smaller parcels for one the destination found too large; none when it cannot be."""

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        """Send it and wait for the answer: how many of its records were not taken after all.

        Raises Refused or Unavailable.
        """

    def close(self) -> None:
        """Let go of connections."""

    def after_fork(self) -> None:
        """In the child: forget connections without closing them towards the other side."""
