"""The example shop by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from examples.shop.stock import Stock


def test_concurrent_requests_share_the_stock() -> None:
    """Threads that take and count at once leave exactly what was not taken."""
    stock = Stock()
    before = stock.left("lamp")
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(
            lambda turn: (stock.take if turn % 2 else stock.left)("lamp"), range(400)
        ):
            pass
    assert before - stock.left("lamp") == 200
