"""Ending what a Pushgateway forgets, at ``/metrics/job/NAME{/LABEL/VALUE}``.

``DELETE`` forgets a group, ``PUT`` what the group had and the push has not, ``POST`` of that only
what has the name of a pushed metric. Lookout keeps what was pushed as samples; what is forgotten
ends with staleness markers, so that queries no longer see it from now on, and what it was before
stays.

Requests of one group come one after the other: of two at once each would see what the other has
brought as something that it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakValueDictionary

import cramjam

from ..metrics.series import METRIC_NAME
from ..query.prometheus.source import STALE, STALE_BITS
from ..server import Server
from .remote_write_messages import WriteRequest

#: The series that have a group's labels and a sample a query may still see.
_VISIBLE = """
SELECT any(labels) AS found FROM series
WHERE tenant = {tenant:String}
  AND arrayAll((name, value) -> labels[name] = value, {names:Array(String)}, {values:Array(String)})
  AND (mid, id) IN (
    SELECT mid, id FROM samples WHERE tenant = {tenant:String}
      AND mid IN (SELECT mid FROM series
        WHERE tenant = {tenant:String} AND labels['job'] = {job:String})
      AND ts >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
    GROUP BY mid, id HAVING reinterpretAsUInt64(argMax(v, ts)) != {stale:UInt64})
GROUP BY mid, id
"""
#: Its own series, one a group, tells groups apart from those with more labels.
_PUSHED = "push_time_seconds"

Labels = Mapping[str, str]


class GroupLocks:
    """A lock for each group that requests of this process work on (event loop only).

    Whoever uses a lock holds it; it goes with the last request that does.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, frozenset[tuple[str, str]]], asyncio.Lock]
        self._locks = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._locks)

    def of(self, tenant: str, group: Labels) -> asyncio.Lock:
        """The lock of a tenant's group, the same for all requests at a time."""
        return self._locks.setdefault((tenant, frozenset(group.items())), asyncio.Lock())


async def ending(
    server: Server,
    tenant: str,
    group: Labels,
    now_ms: int,
    is_kept: Callable[[Labels], bool] = lambda labels: False,
) -> bytes | None:
    """A remote-write body that ends the series of a group, those kept aside; None if there is none.

    What was accepted before is seen.
    """
    await server.settle("metrics")
    since = now_ms - int(server.config.promql_lookback * 1000)
    parameters = {
        "tenant": tenant,
        "names": list(group),
        "values": list(group.values()),
        "job": group["job"],
        "since": since,
        "stale": STALE_BITS,
    }
    table = await server.fetch(_VISIBLE, parameters)
    found = [dict(labels) for labels in table.column("found").to_pylist()]
    own = own_series(found, group)
    return stale_body([labels for labels in own if not is_kept(labels)], now_ms)


def kept_by(pushed: Iterable[Labels], *, whole_group: bool) -> Callable[[Labels], bool]:
    """Which series of a group stay when ``pushed`` come into it.

    With ``whole_group`` these alone (PUT), else also those of other names (POST).
    """
    present = {tuple(sorted(labels.items())) for labels in pushed}
    names = {dict(labels)[METRIC_NAME] for labels in present}

    def is_kept(labels: Labels) -> bool:
        if tuple(sorted(labels.items())) in present:
            return True
        return not whole_group and labels[METRIC_NAME] not in names

    return is_kept


def own_series(found: Iterable[Labels], group: Labels) -> list[Labels]:
    """Of the series with a group's labels, those of no other group with more labels."""
    series = list(found)
    larger = [
        {name: value for name, value in labels.items() if name != METRIC_NAME}
        for labels in series
        if labels[METRIC_NAME] == _PUSHED and len(labels) - 1 > len(group)
    ]
    return [labels for labels in series if not any(g.items() <= labels.items() for g in larger)]


def stale_body(series: Iterable[Labels], now_ms: int) -> bytes | None:
    """Staleness markers for these series."""
    request = WriteRequest()
    for labels in series:
        message = request.timeseries.add()
        for name, value in sorted(labels.items()):
            message.labels.add(name=name, value=value)
        message.samples.add(timestamp=now_ms, value=STALE)
    if not request.timeseries:
        return None
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
