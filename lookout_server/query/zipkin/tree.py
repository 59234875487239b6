"""A clean tree of one trace's spans, for whatever must know who called whom.

Source of the rules: Zipkin's Trace.merge and SpanNode. Spans come in pieces, client and server may
share one span id, and instrumentation forgets flags and parents; order matters in all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from functools import cmp_to_key

from ...spans.model import NOWHERE, Endpoint, Span

_Key = Hashable


class Node:
    """One span in its place. The root of a headless trace has no span."""

    __slots__ = ("children", "parent", "span")

    def __init__(self, span: Span | None) -> None:
        self.span = span
        self.parent: Node | None = None
        self.children: list[Node] = []

    def add(self, child: Node) -> None:
        """Hang a node under this one."""
        self.children.append(child)
        child.parent = self

    def walk(self) -> Iterator[Node]:
        """The nodes that have spans, breadth first."""
        queue = deque(self.children if self.span is None else [self])
        while queue:
            node = queue.popleft()
            yield node
            queue.extend(node.children)

    def ancestors(self) -> Iterator[Span]:
        """Spans above this node, nearest first."""
        node = self.parent
        while node is not None:
            if node.span is not None:
                yield node.span
            node = node.parent


def build_tree(spans: Sequence[Span]) -> Node:
    """The tree of a trace with at least one span. Its walk does not reach spans in a cycle."""
    cleaned = merge(spans)
    parents: dict[_Key, _Key | None] = {}
    for span in cleaned:
        if span.shared:
            parents[_key(span)] = span.id
        else:
            parents[span.id] = span.parent_id or None
    return _Planter(parents).plant(cleaned)


class _Planter:
    """Places cleaned spans, given which key's parent is which."""

    def __init__(self, parents: dict[_Key, _Key | None]) -> None:
        self._parents = parents
        self._nodes: dict[_Key, Node] = {}
        self._root: Node | None = None

    def plant(self, spans: Sequence[Span]) -> Node:
        for span in spans:
            self._place(span)
        root = self._root or Node(None)
        for key, parent_key in self._parents.items():
            (self._nodes.get(parent_key) or root).add(self._nodes[key])
        return root

    def _place(self, span: Span) -> None:
        plain_key = _shared_key(span.id, NOWHERE) if span.shared else span.id
        parent: _Key | None = span.id if span.shared else self._parent(span, plain_key)
        node = Node(span)
        if parent is None and self._root is None:
            self._root = node
            self._parents.pop(plain_key, None)
            return
        if span.shared:
            self._nodes[_key(span)] = node
        self._nodes[plain_key] = node

    def _parent(self, span: Span, plain_key: _Key) -> _Key | None:
        """The server's half of the parent's id on the same host, if there is one, else the id."""
        if not span.parent_id:
            return None
        shared_half = _shared_key(span.parent_id, span.local)
        if shared_half in self._parents:
            self._parents[plain_key] = shared_half
            return shared_half
        return span.parent_id


def _key(span: Span) -> _Key:
    return _shared_key(span.id, span.local) if span.shared else span.id


def _shared_key(id: str, local: Endpoint) -> _Key:
    return id, local


def merge(spans: Sequence[Span]) -> list[Span]:
    """Spans with their pieces put together, on one trace id, with missing shared flags set."""
    if len(spans) <= 1:
        return list(spans)
    ordered = sorted(spans, key=cmp_to_key(_compare))
    trace_id = next((s.trace_id for s in ordered if len(s.trace_id) == 32), ordered[-1].trace_id)
    result: list[Span] = []
    at = 0
    while at < len(ordered):
        first = ordered[at]
        last = result[-1] if result else None
        span, used = _joined(ordered, at)
        span = _corrected(span._replace(trace_id=trace_id), first, last)
        result.append(span)
        at += used
    return result


def _joined(ordered: Sequence[Span], at: int) -> tuple[Span, int]:
    """The span at a place with the pieces that follow it, and how many it was."""
    span = first = ordered[at]
    seen = first.local
    used = 1
    while at + used < len(ordered):
        piece = ordered[at + used]
        if piece.id != first.id or piece.shared != first.shared or _differ(seen, piece.local):
            break
        seen = seen.merged(piece.local)
        span = _merged(span, piece)
        used += 1
    return span, used


def _corrected(span: Span, first: Span, last: Span | None) -> Span:
    if last is None or last.id != span.id:
        return span
    shared = first.shared or (last.kind == "CLIENT" and first.kind == "SERVER")
    parent_id = span.parent_id
    if shared and not first.parent_id and last.parent_id:
        parent_id = last.parent_id
    return span._replace(
        shared=(span.shared or shared) and span.kind != "CLIENT", parent_id=parent_id
    )


def _merged(span: Span, piece: Span) -> Span:
    """What one span lacks taken from another piece of it."""
    kind = span.kind or piece.kind
    return Span(
        span.trace_id,
        span.id,
        span.parent_id or piece.parent_id,
        kind,
        span.name or piece.name,
        span.timestamp or piece.timestamp,
        span.duration or piece.duration,
        span.local.merged(piece.local),
        span.remote.merged(piece.remote),
        tuple(sorted({*span.annotations, *piece.annotations})),
        {**span.tags, **piece.tags},
        span.debug or piece.debug,
        (span.shared or piece.shared) and kind != "CLIENT",
    )


def _differ(one: Endpoint, other: Endpoint) -> bool:
    """Whether two endpoints cannot be the same place: a field that both have is not equal."""
    return any(a and b and a != b for a, b in zip(one, other, strict=True))


def _compare(left: Span, right: Span) -> int:
    """By id, then client first and shared last, then endpoint with the absent first."""
    if left.id != right.id:
        return -1 if left.id < right.id else 1
    return _compare_sides(left, right) or _compare_endpoints(left.local, right.local)


def _compare_sides(left: Span, right: Span) -> int:
    if left.shared or right.shared:
        return int(left.shared) - int(right.shared)
    return int(right.kind == "CLIENT") - int(left.kind == "CLIENT")


def _compare_endpoints(left: Endpoint, right: Endpoint) -> int:
    if NOWHERE in (left, right):
        return int(left != NOWHERE) - int(right != NOWHERE)
    for one, other in zip(left[:3], right[:3], strict=True):
        if one != other:
            # Within an endpoint what is absent goes last.
            return -1 if one and (not other or one < other) else 1
    return 0
