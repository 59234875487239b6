"""The loss ledger: where every record of this process went.

For each destination, at any quiet moment and to the record::

    created = sent + sampled_out + dropped (by reason) + in_flight

*Created* counts finished spans, kept or not. The hot path pays for none of this: what went
through the ring is derived from the ring's own counts.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._tally import Tally
from .interpreter import has_gil
from .ring import Ring

#: Why a record was given up. Destinations may add reasons of their own.
RING_FULL = "ring_full"  # the application was faster than the flusher
QUEUE_FULL = "queue_full"  # the destination was slower than the flusher
SPILL_FULL = "spill_full"  # the destination was down longer than the spill could hold
SPILL_DAMAGED = "spill_damaged"  # its file in the spill was damaged, or removed by others
TOO_LARGE = "too_large"  # one record alone exceeds what a request may carry
NOT_ENCODABLE = "not_encodable"  # the record cannot be put into the wire format
REFUSED = "refused"  # the destination answered that it will never take it
UNWRITABLE = "unwritable"  # the log file could not be written
DESTINATION_FAILED = "destination_failed"  # the destination raised, against its contract
SHUTDOWN = "shutdown"  # it came after the shutdown, or the deadline at exit came first

REASONS = (
    RING_FULL,
    QUEUE_FULL,
    SPILL_FULL,
    SPILL_DAMAGED,
    TOO_LARGE,
    NOT_ENCODABLE,
    REFUSED,
    UNWRITABLE,
    DESTINATION_FAILED,
    SHUTDOWN,
)


@dataclass(frozen=True, slots=True)
class Report:
    """The ledger as one destination sees it, at one moment."""

    process: str
    service: str
    seq: int  # rises with every report of a process: the highest one is the latest
    created: int
    sampled_out: int
    dropped: Mapping[str, int]
    sent: int
    acknowledged: int
    in_flight: int  # in the ring, in queues, on the wire or spilled

    @property
    def balanced(self) -> bool:
        """Whether no record is accounted for twice.

        What is in flight is what the other counts leave of ``created``: fewer than none when one
        of them counts a record that another one has. A record that nobody counts stays in flight.
        """
        return self.in_flight >= 0

    def header(self) -> str:
        """The value of ``X-Lookout-Ledger``: compact JSON, ASCII."""
        fields = {
            "process": self.process,
            "service": self.service,
            "seq": self.seq,
            "created": self.created,
            "sampled_out": self.sampled_out,
            "dropped": dict(self.dropped),
            "sent": self.sent,
        }
        return json.dumps(fields, separators=(",", ":"))

    def as_dict(self) -> dict[str, Any]:
        """All fields, as plain values."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "dropped": dict(self.dropped)
        }


class Count:
    """Events of one kind, counted by ``count.value += 1`` where a call would be too dear.

    Nothing is lost under the interpreter lock: CPython switches threads at calls and backward
    jumps only, and there is none between reading and storing an attribute.
    """

    __slots__ = ("ahead", "value")

    ahead: int  # in ``value`` already, yet to happen

    def __init__(self) -> None:
        self.ahead = 0
        self.reset()

    def total(self) -> int:
        """How many there were."""
        return self.value - self.ahead

    def advance(self, ahead: int) -> None:
        """Count ``ahead`` events before they happen, instead of those still expected; each takes
        one off ``ahead``. Zero expects none."""
        self.value += ahead - self.ahead
        self.ahead = ahead

    def reset(self) -> None:
        """Start from zero: also for the child after a fork."""
        self.value = self.ahead


class LockedCount(Count):
    """The same for interpreters whose threads do not take turns: storing ``value`` adds one.

    Nothing is counted ahead.
    """

    __slots__ = ("_lock", "_total")

    @property
    def ahead(self) -> int:
        return 0

    @ahead.setter
    def ahead(self, _: int) -> None:
        return

    def advance(self, ahead: int) -> None:
        return

    @property
    def value(self) -> int:
        return 0

    @value.setter
    def value(self, _: int) -> None:
        with self._lock:
            self._total += 1

    def total(self) -> int:
        return self._total

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._total = 0


def new_count() -> Count:
    """A :class:`Count` that is exact on this interpreter."""
    return Count() if has_gil() else LockedCount()


class Account:
    """What became of the records handed to one destination. Thread-safe; counts per batch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self.offered = 0
        self.sent = 0
        self.acknowledged = 0
        self.replayed = 0
        self._dropped: Counter[str] = Counter()

    def offer(self, count: int) -> None:
        """The flusher hands over ``count`` records."""
        with self._lock:
            self.offered += count

    def send(self, count: int) -> None:
        """``count`` records are being sent; a failed attempt is taken back by :meth:`unsend`."""
        with self._lock:
            self.sent += count

    def unsend(self, count: int) -> None:
        """The attempt failed; the records wait again."""
        with self._lock:
            self.sent -= count

    def acknowledge(self, count: int) -> None:
        """The destination has confirmed ``count`` sent records."""
        with self._lock:
            self.acknowledged += count

    def drop(self, reason: str, count: int) -> None:
        """``count`` records are given up."""
        if count:
            with self._lock:
                self._dropped[reason] += count

    def replay(self, count: int) -> None:
        """``count`` records of an earlier process, found in the spill, were acknowledged.

        They belong to that process's ledger, not to this one's.
        """
        with self._lock:
            self.replayed += count

    @property
    def dropped(self) -> dict[str, int]:
        """Records given up, by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def waiting(self) -> int:
        """Records handed over and neither sent nor given up."""
        with self._lock:
            return self.offered - self.sent - self._dropped.total()

    def reset(self) -> None:
        """Start from zero: for the child after a fork."""
        self._lock = threading.Lock()
        self._clear()


class Ledger:
    """The counts of one process: one account per destination, the ring's and the sampler's."""

    def __init__(self, service: str = "") -> None:
        self.service = service
        self.process = _process_id()
        self._sampled_out = Tally()
        #: Spans that the sampler turned down and nobody recorded; who starts spans counts them.
        self.unrecorded = new_count()
        self._direct = 0  # handed to a destination without a ring
        self._filtered = 0  # sampled out, but recorded: they came through the ring
        #: Count one span that the sampler turned down. Takes no lock.
        self.sample_out = self._sampled_out.add
        self._ring: Ring[Any] | None = None
        self._accounts: dict[str, Account] = {}
        self._early: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._seq = itertools.count(1)

    def watch(self, ring: Ring[Any]) -> None:
        """Count what passes through ``ring``."""
        self._ring = ring

    def account(self, name: str) -> Account:
        """The account of the destination called ``name``, made on first use."""
        with self._lock:
            return self._accounts.setdefault(name, Account(name))

    def create(self, count: int) -> None:
        """Count records that go to a destination without passing a ring."""
        with self._lock:
            self._direct += count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count records given up before they reached the ring."""
        with self._lock:
            self._early[reason] += count

    @property
    def destinations(self) -> list[str]:
        """Names of the destinations that have an account."""
        return [account.name for account in self._all_accounts()]

    @property
    def sampled_out(self) -> int:
        """Spans the sampler turned down, recorded for the statistics or not."""
        return self._turned_down() + self._filtered

    def filter_out(self, count: int) -> None:
        """``count`` spans of the ring were recorded although the sampler had turned them down."""
        with self._lock:
            self._filtered += count

    @property
    def created(self) -> int:
        """Finished spans, whatever became of them."""
        return self._offered() + self._early.total() + self._turned_down()

    @property
    def dropped(self) -> dict[str, int]:
        """Records given up before or in the ring, and by any destination, by reason."""
        total = Counter(self._dropped_early())
        for account in self._all_accounts():
            total.update(account.dropped)
        return dict(total)

    @property
    def sent(self) -> int:
        """Records sent, summed over the destinations."""
        return sum(account.sent for account in self._all_accounts())

    @property
    def acknowledged(self) -> int:
        """Records confirmed, summed over the destinations."""
        return sum(account.acknowledged for account in self._all_accounts())

    def report(self, destination: str | None = None) -> Report:
        """The ledger as ``destination`` sees it; without a name, before any destination.

        Without a name ``sent`` and ``acknowledged`` count what left the ring.
        """
        account = self._accounts.get(destination) if destination is not None else None
        taken = self._direct - self._filtered + (self._ring.taken if self._ring is not None else 0)
        dropped = Counter(self._dropped_early())
        sent, acknowledged = taken, taken
        if account is not None:
            dropped.update(account.dropped)
            sent, acknowledged = account.sent, account.acknowledged
        sampled_out = self.sampled_out
        created = self._offered() + self._early.total() + sampled_out - self._filtered
        return Report(
            process=self.process,
            service=self.service,
            seq=next(self._seq),
            created=created,
            sampled_out=sampled_out,
            dropped=dict(dropped),
            sent=sent,
            acknowledged=acknowledged,
            in_flight=created - sampled_out - sent - dropped.total(),
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain values for people and for ``/metrics``: the process, then each destination."""
        return {
            "process": self.process,
            "service": self.service,
            "created": self.created,
            "sampled_out": self.sampled_out,
            "dropped": self.dropped,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "waiting_in_ring": len(self._ring) if self._ring is not None else 0,
            "destinations": {
                account.name: self.report(account.name).as_dict()
                | {"replayed": account.replayed, "waiting": account.waiting}
                for account in self._all_accounts()
            },
        }

    def reset(self) -> None:
        """A new process: new identity, all counts zero. For the child after a fork."""
        self._lock = threading.Lock()
        self.process = _process_id()
        self._sampled_out.reset()
        self.unrecorded.reset()
        self._direct = 0
        self._filtered = 0
        self._early.clear()
        self._seq = itertools.count(1)
        for account in self._accounts.values():
            account.reset()

    def _all_accounts(self) -> list[Account]:
        with self._lock:
            return list(self._accounts.values())

    def _turned_down(self) -> int:
        return self._sampled_out.value() + self.unrecorded.total()

    def _offered(self) -> int:
        return self._direct + (self._ring.offered if self._ring is not None else 0)

    def _dropped_early(self) -> dict[str, int]:
        early = Counter(self._early)
        if self._ring is not None:
            early[RING_FULL] += self._ring.dropped
            early[SHUTDOWN] += self._ring.refused
        return dict(+early)


def _process_id() -> str:
    """Names this process among all: 16 random hex digits."""
    return os.urandom(8).hex()
