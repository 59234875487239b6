"""What clients say they created, against what arrived and was stored."""

from __future__ import annotations

import json

import pytest

from lookout_server.placing import Piece
from lookout_server.reconcile import Reconciliation


def header(process: str = "p", seq: int = 1, created: int = 10, **more: object) -> str:
    ledger = {"process": process, "service": "shop", "seq": seq, "created": created, **more}
    return json.dumps(ledger)


def test_balance() -> None:
    """created = sampled out + dropped + stored, and what is missing shows."""
    accounts = Reconciliation()
    key = accounts.report("t", header(sampled_out=2, dropped={"ring_full": 1}, sent=7))
    accounts.accepted(key, 7)
    assert accounts.missing() == [(("shop",), 7)]
    accounts.stored([Piece(1, None, 4, 0.0, key), Piece(2, None, 3, 0.0, key)])
    assert accounts.missing() == [(("shop",), 0)]
    assert accounts.accounts("t")["p"].as_json() == {
        "service": "shop",
        "created": 10,
        "sampled_out": 2,
        "dropped": {"ring_full": 1},
        "dropped_by_collector": {},
        "sent": 7,
        "accepted": 7,
        "stored": 7,
    }


def test_what_the_collector_drops() -> None:
    """A span whose time is not kept is no stored one, and nothing is missing: the reason says it.

    The client's next ledger does not undo it, nor does a restart.
    """
    accounts = Reconciliation()
    key = accounts.report("t", header(created=5, dropped={"ring_full": 1}))
    kept = accounts.stored([Piece(1, None, 4, 0.0, key, dropped={"time_out_of_bounds": 3})])
    for each in (accounts, after := Reconciliation()):
        if each is after:
            after.restore(kept)
        each.report("t", header(seq=2, created=5, dropped={"ring_full": 1}))
        account = each.accounts("t")["p"].as_json()
        assert account["dropped"] == {"ring_full": 1, "time_out_of_bounds": 3}
        assert account["dropped_by_collector"] == {"time_out_of_bounds": 3}
        assert account["stored"] == 1
        assert each.missing() == [(("shop",), 0)]


def test_requests_overtake_each_other() -> None:
    """An older ledger that arrives later does not undo a newer one."""
    accounts = Reconciliation()
    accounts.report("t", header(seq=5, created=50))
    accounts.report("t", header(seq=4, created=40))
    assert accounts.accounts("t")["p"].created == 50


def test_tenants_are_apart() -> None:
    """Processes are known by tenant; one tenant does not see another's."""
    accounts = Reconciliation()
    accounts.report("a", header())
    assert accounts.accounts("b") == {}
    assert accounts.report("b", header()) != accounts.report("a", header())


def test_number_of_processes_is_bounded() -> None:
    """The process heard of longest ago is forgotten."""
    accounts = Reconciliation(max_processes=2)
    for process in ("p1", "p2", "p1", "p3"):
        accounts.report("t", header(process))
    assert sorted(accounts.accounts("t")) == ["p1", "p3"]


def test_accounts_survive_a_restart() -> None:
    """What was stored before is not missing after it."""
    before, after = Reconciliation(), Reconciliation()
    key = before.report("t", header())
    kept = before.stored([Piece(1, None, 10, 0.0, key)])
    after.restore(kept)
    assert after.accounts("t")["p"].stored == 10


def test_accepted_is_right_after_a_crash() -> None:
    """What waits in the journal at a crash was accepted once, noted by then or not."""
    before, after = Reconciliation(), Reconciliation()
    key = before.report("t", header(created=30, sent=30))
    before.accepted(key, 12)  # of these 5 are written, after them 18 more come, then the crash
    kept = before.stored([Piece(1, None, 5, 0.0, key, dropped={"set_aside": 1}, sampled_out=3)])
    after.restore(kept)
    after.accepted(key, 2)
    after.stored([Piece(2, None, 25, 0.0, key, inherited=True), Piece(3, None, 2, 0.0, key)])
    account = after.accounts("t")["p"]
    assert (account.accepted, account.stored) == (5 + 25 + 2, 4 + 25 + 2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"process": ""}', '{"process": 1}', "x" * 9999])
def test_unreadable_headers_are_ignored(text: str) -> None:
    """A bad ledger costs the body nothing."""
    accounts = Reconciliation()
    assert accounts.report("t", text) == ""
    accounts.accepted("", 5)
    assert accounts.missing() == []


def test_one_process_name_in_two_tenants() -> None:
    """Each tenant's account counts in the sum, which can be had without the services' names."""
    accounts = Reconciliation()
    accounts.report("a", header(created=3))
    accounts.report("b", header(created=4))
    assert accounts.missing() == [(("shop",), 7)]
    assert accounts.all_missing() == [((), 7)]
