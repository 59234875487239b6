"""What the collector's straight way (decode, journal, write) needs to know of a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:  # commands that ask a collector need none of it
    import pyarrow as pa


class Malformed(Exception):
    """A body that is not what its protocol says; the text is the answer's body (400)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a body came in. Journalled with it, so that a replay decodes to the same rows."""

    tenant: str
    received_ms: int  # Unix epoch, milliseconds
    #: What else decides the decoding (URL parts, header values). Small, JSON-able.
    hints: Mapping[str, Any]


class Rows(Protocol):
    """Decoded columns of one body, cheap to hold and to concatenate."""

    def __len__(self) -> int:
        """Number of spans or samples, the unit of batching and back-pressure."""


def sampled_out(rows: Rows) -> int:
    """Rows the body had beyond these, left out by the collector's sample rate; 0 of metrics."""
    return int(getattr(rows, "sampled_out", 0))


def rejected(rows: Rows) -> Mapping[str, int]:
    """Samples the body had beyond these, by the reason they were not taken for; none of spans."""
    return {problem.reason: problem.samples for problem in getattr(rows, "problems", ())}


R = TypeVar("R", bound=Rows)


class Signal(Protocol, Generic[R]):
    """Spans or metrics: how bodies become rows and how rows become tables.

    ``decode`` must be deterministic: the journal keeps the body and replays it after a crash.

    A signal that remembers what it handed over may have two more methods, called by the writer's
    thread: ``stored()`` when the last batch's tables can be read, but for what was set aside; and
    ``forget()``, before it where there is such, when what it believes to have handed over was not.
    """

    name: str  # "spans" or "metrics"

    def decode(self, fmt: str, body: bytes, receipt: Receipt) -> R:
        """Rows of one body in the format named, packed. Raises Malformed; has no side effects."""

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> Any:
        """The first half of ``decode``: rows that stages can look at and change."""

    def pack(self, rows: Any) -> R:
        """The second half: rows as they wait to be written."""

    def tables(self, rows: Sequence[R]) -> Mapping[str, pa.Table]:
        """All rows of one batch as Arrow tables by table name (writer thread).

        Deterministic too: the same rows in the same order give the same tables.
        """
