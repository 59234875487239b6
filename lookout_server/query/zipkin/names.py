"""The lists to choose from: services, span names, remote services and tag values."""

from __future__ import annotations

from ...server import Server
from ..explain import Explanation
from .memory import NamesMemory

_NAMES = """
SELECT DISTINCT value FROM span_names
WHERE tenant = {tenant:String} AND what = {what:String} AND service = {service:String}
ORDER BY value LIMIT {most:UInt32}
"""
#: More names than anybody can choose from; keeps an answer bounded.
_MOST = 20_000


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
    known = memory.get(place) if memory else None
    if known is not None:
        with explanation.stage("names in memory", rows=len(known)):
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
