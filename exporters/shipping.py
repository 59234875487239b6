"""Sends the spans of a directory of rolling logs, at least once: what ``lookout ship`` does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .backoff import Backoff
from .digest_reader import LoggedSpan, read_line
from .follow import LogDirectory, Piece, Positions
from .ledger import TOO_LARGE
from .parcel import Parcel, Refused, Transport, Unavailable

_BATCH = 2_000
_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Shipped:
    """What became of the lines read so far."""

    spans: int = 0
    skipped: int = 0  # lines that are no spans: cut off by a crash, or not ours
    refused: int = 0  # spans the other side will never take


class Shipper:
    """Reads ``directory`` and sends through ``transport``, going on where it stopped.

    A position is saved only after what stands before it was acknowledged. While nothing answers
    it tries again, ``attempts`` times each batch, or for ever; ``on_trouble`` hears why when it
    begins, ``on_damage`` of files that cannot be read.
    """

    def __init__(
        self,
        directory: Path,
        transport: Transport,
        state: Path,
        *,
        shadow: bool = False,
        backoff: Backoff | None = None,
        attempts: int | None = None,
        on_trouble: Callable[[str], object] | None = None,
        on_damage: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._logs = LogDirectory(directory, shadow=shadow, on_damage=on_damage)
        self._transport = transport
        self._positions = Positions(state)
        self._backoff = backoff if backoff is not None else Backoff()
        self._attempts = attempts
        self._on_trouble = on_trouble
        self._stop = threading.Event()
        self.shipped = Shipped()
        self.trouble = ""  # why nothing can be sent now
        self.gave_up = False  # whether the last run ended with its attempts

    def stop(self) -> None:
        """Have :meth:`run` return soon. May be called from anywhere, signal handlers included."""
        self._stop.set()

    def run_once(self) -> int:
        """Send all that is there now; the number of spans sent.

        Waits out a side that is down, or gives up when it has no attempts left.
        """
        before = self.shipped.spans
        self.gave_up = False
        for piece in self._logs.unread(self._positions):
            if not self._ship(piece):
                break
        return self.shipped.spans - before

    def run(self, poll_s: float = 1.0) -> None:
        """Send what comes until stopped."""
        while not self._stop.is_set():
            self.run_once()
            self._stop.wait(poll_s)

    def _ship(self, piece: Piece) -> bool:
        spans = [read_line(line) for line in piece.lines]
        found = [span for span in spans if span is not None]
        for start in range(0, len(found), _BATCH):
            if not self._send(found[start : start + _BATCH]):
                return False  # stopped or given up: the piece will be read again
        self.shipped.skipped += len(spans) - len(found)
        self._positions.done(piece)
        self._positions.save()
        return True

    def _send(self, spans: Sequence[LoggedSpan]) -> bool:
        body, _ = self._transport.encode(spans)
        packed, path, headers = self._transport.parcel(body)
        waiting = [Parcel(packed, len(spans), "", path, dict(headers))]
        while waiting:
            parcel = waiting.pop()
            try:
                if not self._deliver(parcel):
                    return False
            except Refused as refusal:
                smaller = self._smaller(parcel, refusal)
                if smaller:
                    waiting.extend(smaller)
                else:
                    self.shipped.refused += parcel.count
                    self.trouble = str(refusal)
            else:
                self.shipped.spans += parcel.count
        return True

    def _smaller(self, parcel: Parcel, refusal: Refused) -> Sequence[Parcel]:
        return self._transport.split(parcel) if refusal.reason == TOO_LARGE else ()

    def _deliver(self, parcel: Parcel) -> bool:
        """Try until it is taken. False when stopped, or out of attempts, before."""
        for attempt in itertools.count(1):
            try:
                self._transport.deliver(parcel, "", _TIMEOUT_S)
            except Unavailable as trouble:
                self._tell(str(trouble))
                if attempt == self._attempts:
                    self.gave_up = True
                    return False
                wait = max(self._backoff.failed(), trouble.retry_after_s or 0.0)
                if self._stop.wait(wait):
                    return False
            else:
                self.trouble = ""
                self._backoff.succeeded()
                return True
        raise AssertionError("unreachable")

    def _tell(self, trouble: str) -> None:
        begins, self.trouble = not self.trouble, trouble
        if begins and self._on_trouble is not None:
            self._on_trouble(trouble)


def spans_of(
    directory: Path,
    trace_id: int,
    *,
    shadow: bool = True,
    on_damage: Callable[[str], object] = lambda text: None,
) -> Iterator[LoggedSpan]:
    """The spans of one trace in a directory's logs, in the order of the files.

    ``on_damage`` hears of files that cannot be read.
    """
    # The id as it stands in our lines; SOFATracer's own ids have no leading zeros.
    needles = {f"{trace_id:032x}".encode(), f"{trace_id:x}".encode()}
    logs = LogDirectory(directory, shadow=shadow, on_damage=on_damage)
    for piece in logs.unread(Positions()):
        for line in piece.lines:
            if any(needle in line for needle in needles):
                span = read_line(line)
                if span is not None and span.trace_id == trace_id:
                    yield span
