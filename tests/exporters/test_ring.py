"""The ring: bounded, ordered, counted to the record."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporters.ring import Policy, Ring


def test_gives_back_in_order() -> None:
    """What goes in first comes out first, at most as many as asked for."""
    ring: Ring[int] = Ring(8)
    for number in range(5):
        assert ring.offer(number)
    assert ring.drain(3) == [0, 1, 2]
    assert ring.drain(3) == [3, 4]
    assert ring.drain(3) == []


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (3, 4), (1000, 1024), (1024, 1024)])
def test_capacity_is_a_power_of_two(asked: int, given: int) -> None:
    """The capacity is rounded up, and exactly so many records fit."""
    ring: Ring[int] = Ring(asked)
    assert [ring.offer(1) for _ in range(given + 1)] == [True] * given + [False]
    assert ring.capacity == given


def test_drop_newest_keeps_what_came_first() -> None:
    """By default a full ring turns new records away."""
    ring: Ring[int] = Ring(2)
    assert [ring.offer(n) for n in range(4)] == [True, True, False, False]
    assert ring.drain(9) == [0, 1]
    assert (ring.offered, ring.taken, ring.dropped) == (4, 2, 2)


def test_drop_oldest_keeps_what_came_last() -> None:
    """With drop_oldest a full ring gives up what has waited longest."""
    ring: Ring[int] = Ring(2, Policy.DROP_OLDEST)
    assert all(ring.offer(n) for n in range(4))
    assert ring.drain(9) == [2, 3]
    assert (ring.offered, ring.taken, ring.dropped) == (4, 2, 2)


def test_block_waits_for_room() -> None:
    """With block a producer goes on as soon as the consumer has made room."""
    ring: Ring[int] = Ring(1, "block", block_s=30)
    ring.offer(1)
    answers: list[bool] = []
    producer = threading.Thread(target=lambda: answers.append(ring.offer(2)))
    producer.start()
    while not (taken := ring.drain(1)):
        pass
    producer.join(10)
    assert (taken, answers, ring.drain(1), ring.dropped) == ([1], [True], [2], 0)


def test_block_gives_up_at_its_deadline() -> None:
    """With block nobody waits longer than block_s; the record counts as dropped."""
    ring: Ring[int] = Ring(1, Policy.BLOCK, block_s=0.01)
    assert [ring.offer(1), ring.offer(2)] == [True, False]
    assert ring.dropped == 1


def test_closed_ring_refuses_and_counts() -> None:
    """After close nothing enters, what waits can still be had, and the counts tell."""
    ring: Ring[int] = Ring(4)
    ring.offer(1)
    ring.close()
    assert not ring.offer(2)
    assert ring.drain(9) == [1]
    assert (ring.offered, ring.refused, ring.dropped) == (2, 1, 0)


def test_bell_rings_at_the_mark_only() -> None:
    """A sleeping consumer is woken by the first record, a napping one by a full batch."""
    rung: list[int] = []
    ring: Ring[int] = Ring(64)
    ring.listen(lambda: rung.append(len(ring)))
    ring.offer(0)
    assert rung == [1]
    ring.set_mark(4)
    for _ in range(4):
        ring.offer(0)
    assert rung == [1, 5]


@pytest.mark.parametrize("capacity", [0, -1])
def test_names_a_senseless_capacity(capacity: int) -> None:
    """A capacity below one is refused with the number that was given."""
    with pytest.raises(ValueError, match=str(capacity)):
        Ring(capacity)


@pytest.mark.parametrize("policy", list(Policy))
def test_counts_are_exact_with_many_threads(policy: Policy) -> None:
    """Eight producers against one consumer: offered = taken + dropped, and no record twice."""
    ring: Ring[Any] = Ring(256, policy, block_s=0.001)
    per_thread, threads = 2_000, 8
    refused = [0] * threads
    done = threading.Event()
    taken: list[tuple[int, int]] = []

    def produce(me: int) -> None:
        for number in range(per_thread):
            refused[me] += not ring.offer((me, number))

    def consume() -> None:
        while not done.is_set() or len(ring):
            taken.extend(ring.drain(32))

    consumer = threading.Thread(target=consume)
    producers = [threading.Thread(target=produce, args=(n,)) for n in range(threads)]
    for thread in (consumer, *producers):
        thread.start()
    for thread in producers:
        thread.join()
    done.set()
    consumer.join()
    assert ring.offered == per_thread * threads == len(taken) + ring.dropped
    assert len(set(taken)) == len(taken) == ring.taken
    if policy is not Policy.DROP_OLDEST:
        assert sum(refused) == ring.dropped
    for me in range(threads):
        mine = [number for who, number in taken if who == me]
        assert mine == sorted(mine)


class RingMachine(RuleBasedStateMachine):
    """The ring against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.ring: Ring[int] = Ring(8)
        self.model: list[int] = []
        self.next = 0
        self.lost = 0
        self.gone = 0

    @rule(mark=st.integers(0, 20))
    def move_mark(self, mark: int) -> None:
        self.ring.set_mark(mark)

    @rule()
    def offer(self) -> None:
        accepted = self.ring.offer(self.next)
        assert accepted == (len(self.model) < 8)
        if accepted:
            self.model.append(self.next)
        else:
            self.lost += 1
        self.next += 1

    @rule(limit=st.integers(0, 10))
    def drain(self, limit: int) -> None:
        expected, self.model = self.model[:limit], self.model[limit:]
        assert self.ring.drain(limit) == expected
        self.gone += len(expected)

    @precondition(lambda self: self.next > 20)
    @rule()
    def reset(self) -> None:
        self.ring.reset()
        self.model, self.next, self.lost, self.gone = [], 0, 0, 0

    @invariant()
    def balances(self) -> None:
        assert len(self.ring) == len(self.model)
        counts = (self.ring.offered, self.ring.taken, self.ring.dropped)
        assert counts == (self.next, self.gone, self.lost)


RingMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestRingModel = RingMachine.TestCase
