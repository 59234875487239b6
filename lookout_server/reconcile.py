"""Adds up what clients say they created with what arrived here and was stored.

Clients send their ledger in the header ``X-Lookout-Ledger`` with every batch of spans. Rows are
credited to the sending process when they are accepted and when they are stored, so that after a
flush ``created = sampled_out + dropped + stored`` holds for each process, or the rest is visible.
What the collector leaves out (a time outside of retention, an entry that cannot be stored, a trace
its sample rate does not keep) counts as dropped, with its reason.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .placing import SAMPLED_OUT, Piece

LEDGER_HEADER = "x-lookout-ledger"
_MAX_PROCESSES = 10_000
_MAX_REASONS = 50


class _Ledger(msgspec.Struct):
    """The header's JSON."""

    process: str
    service: str = ""
    seq: int = 0
    created: int = 0
    sampled_out: int = 0
    dropped: dict[str, int] = {}
    sent: int = 0


@dataclass(slots=True)
class Account:
    """One client process: what it says, and what we saw."""

    tenant: str
    service: str = ""
    seq: int = -1
    created: int = 0
    sampled_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    accepted: int = 0
    stored: int = 0
    #: What was accepted here and then left out, by reason.
    dropped_here: dict[str, int] = field(default_factory=dict)

    @property
    def all_dropped(self) -> dict[str, int]:
        """What the client and what the collector dropped, by reason."""
        both = Counter(self.dropped)
        both.update(self.dropped_here)
        return dict(both)

    @property
    def missing(self) -> int:
        """Spans that were created and neither dropped nor stored (yet)."""
        return self.created - self.sampled_out - sum(self.all_dropped.values()) - self.stored

    @property
    def written(self) -> int:
        """Accepted rows the journal holds no more: stored, or dropped when they were written."""
        dropped = sum(self.dropped_here.values()) - self.dropped_here.get(SAMPLED_OUT, 0)
        return self.stored + dropped

    def credit(self, piece: Piece) -> None:
        """Rows of a batch that was written: stored, or left out for a reason."""
        if piece.inherited:
            self.accepted += piece.count
        self.stored += piece.stored
        for reason, count in piece.dropped.items():
            self.drop(reason, count)
        self.drop(SAMPLED_OUT, piece.sampled_out)

    def drop(self, reason: str, count: int) -> None:
        """Rows that were accepted here and are not stored."""
        if count:
            self.dropped_here[reason] = self.dropped_here.get(reason, 0) + count

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "created": self.created,
            "sampled_out": self.sampled_out,
            "dropped": self.all_dropped,
            "dropped_by_collector": dict(self.dropped_here),
            "sent": self.sent,
            "accepted": self.accepted,
            "stored": self.stored,
        }


class Reconciliation:
    """Accounts of the processes heard of last. Thread-safe."""

    def __init__(self, max_processes: int = _MAX_PROCESSES) -> None:
        self._max = max_processes
        self._lock = threading.Lock()
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def report(self, tenant: str, header: str) -> str:
        """Take a client's ledger; the process's key, empty where the header is not readable."""
        try:
            ledger = msgspec.json.decode(header, type=_Ledger)
        except msgspec.DecodeError:
            return ""
        if not 0 < len(ledger.process) <= 200 or len(ledger.dropped) > _MAX_REASONS:
            return ""
        key = f"{tenant}/{ledger.process}"
        with self._lock:
            account = self._account(key)
            if ledger.seq >= account.seq:  # requests overtake each other
                account.service = ledger.service
                account.seq = ledger.seq
                account.created = ledger.created
                account.sampled_out = ledger.sampled_out
                account.dropped = ledger.dropped
                account.sent = ledger.sent
        return key

    def accepted(self, key: str, count: int) -> None:
        """Credit journalled rows."""
        if key:
            with self._lock:
                self._account(key).accepted += count

    def sampled_out(self, key: str, count: int) -> None:
        """Credit the rows of a body of which the collector's sample rate left nothing."""
        if key:
            with self._lock:
                self._account(key).drop(SAMPLED_OUT, count)

    def stored(self, pieces: Iterable[Piece]) -> dict[str, str]:
        """Credit written rows (writer threads); the accounts that changed, for the journal."""
        with self._lock:
            changed: dict[str, str] = {}
            for piece in pieces:
                if piece.process:
                    self._account(piece.process).credit(piece)
                    changed[piece.process] = ""
            return {key: msgspec.json.encode(self._account(key)).decode() for key in changed}

    def restore(self, accounts: Mapping[str, str]) -> list[str]:
        """Take up what an earlier run had counted; the processes there is no room for.

        What it accepted after its last batch it had not noted, but the journal has it: rows that
        wait there are counted as accepted again when they are written.
        """
        with self._lock:
            for key, text in accounts.items():
                self._account(key)
                account = self._accounts[key] = msgspec.json.decode(text, type=Account)
                account.accepted = account.written
            return [key for key in accounts if key not in self._accounts]

    def accounts(self, tenant: str) -> dict[str, Account]:
        """By process uid, of one tenant."""
        with self._lock:
            return {
                key.partition("/")[2]: account
                for key, account in self._accounts.items()
                if account.tenant == tenant
            }

    def missing(self) -> list[tuple[tuple[str, ...], float]]:
        """Spans not (yet) stored, by service over all tenants: a gauge's reading."""
        sums: Counter[str] = Counter()
        with self._lock:
            for account in self._accounts.values():
                sums[account.service] += account.missing
        return [((service,), value) for service, value in sums.items()]

    def all_missing(self) -> list[tuple[tuple[str, ...], float]]:
        """The same in one sum, which names no tenant's services."""
        return [((), sum(value for _, value in self.missing()))]

    def _account(self, key: str) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(tenant=key.partition("/")[0])
            if len(self._accounts) > self._max:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(key)
        return account


def ledger_routes(reconciliation: Reconciliation) -> list[BaseRoute]:
    """``GET /api/v1/lookout/ledger``: the accounts of the tenant's processes as JSON.

    ``{"processes": [{"process": uid, "service": ..., "created": ..., "stored": ...}, ...]}``
    """

    async def ledger(request: Request) -> Response:
        accounts = reconciliation.accounts(request.state.tenant)
        rows = [{"process": uid, **account.as_json()} for uid, account in accounts.items()]
        body = msgspec.json.encode({"processes": rows})
        return Response(body, media_type="application/json")

    return [Route("/api/v1/lookout/ledger", ledger, methods=["GET"])]
