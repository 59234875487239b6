"""What the shop sells, and which items misbehave on purpose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to buy. ``price`` is in cents."""

    name: str
    price: int


ITEMS = {
    item.name: item
    for item in (
        Item("lamp", 3900),
        Item("chair", 12900),
        Item("desk", 34900),
        Item("clock", 2500),  # slow: stock counts it by hand
        Item("vase", 4900),  # flaky: the first try of each reservation answers 503
        Item("safe", 99900),  # its payment is always declined
    )
}
SLOW, FLAKY, DECLINED = "clock", "vase", "safe"
SLOW_SECONDS = 0.15
