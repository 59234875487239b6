"""The lists to choose from: services, span names, remote services and tag values."""

from __future__ import annotations

from ...server import Server
from ...spans.known import NameList
from ..explain import Explanation
from .memory import NamesMemory

_NAMES = """
SELECT DISTINCT value FROM span_names
WHERE tenant = {tenant:String} AND what = {what:String} AND service = {service:String}
ORDER BY value LIMIT {most:UInt32}
"""
#: All lists of a tenant, for most have few names.
_ALL = """
SELECT DISTINCT what, service, value FROM span_names
WHERE tenant = {tenant:String}
ORDER BY what, service, value LIMIT {most:UInt32}
"""
#: More names than anybody can choose from; keeps an answer bounded.
_MOST = 20_000
#: Lists with so many names together are read at once. Those of more are read one by one.
_MOST_OF_ALL = 5_000


async def read_names(
    server: Server,
    tenant: str,
    what: str,
    service: str,
    explanation: Explanation,
    memory: NamesMemory | None = None,
) -> list[str]:
    """Distinct names in order; ``what`` is one of service, span, remote, tag (of a key)."""
    place = (tenant, what, service)
    known = _remembered(memory, place, explanation)
    if known is not None:
        return known
    if memory:
        every = (tenant, "", "")  # that all lists were asked for lately
        if memory.get(every) is None:
            await _read_all(server, tenant, explanation, memory)
            memory.keep(every, [], memory.number())
            known = _remembered(memory, place, explanation)
            if known is not None:
                return known
    number = memory.number() if memory else 0
    parameters = {"tenant": tenant, "what": what, "service": service, "most": _MOST}
    with explanation.stage("read names", sql=_NAMES) as note:
        table = await server.fetch(_NAMES, parameters)
        note.rows = table.num_rows
    names: list[str] = table.column("value").to_pylist()
    if memory:
        memory.keep(place, names, number)
    return names


def _remembered(
    memory: NamesMemory | None, place: NameList, explanation: Explanation
) -> list[str] | None:
    known = memory.get(place) if memory else None
    if known is not None:
        with explanation.stage("names in memory", rows=len(known)):
            return known
    return None


async def _read_all(
    server: Server, tenant: str, explanation: Explanation, memory: NamesMemory
) -> None:
    """Remember all lists of a tenant that has few names."""
    number = memory.number()
    with explanation.stage("read all names", sql=_ALL) as note:
        table = await server.fetch(_ALL, {"tenant": tenant, "most": _MOST_OF_ALL})
        note.rows = table.num_rows
    if table.num_rows == _MOST_OF_ALL:
        return
    lists: dict[tuple[str, str], list[str]] = {}
    columns = (table.column(name).to_pylist() for name in ("what", "service", "value"))
    for what, service, value in zip(*columns, strict=True):
        lists.setdefault((what, service), []).append(value)
    for (what, service), names in lists.items():
        memory.keep((tenant, what, service), names, number)
