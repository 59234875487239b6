"""Dependency links out of traces: which service calls which, how often, and how often in error.

Source of the rules: Zipkin's DependencyLinker, to the letter, with its deliberate oddities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...spans.model import Span
from .tree import Node, build_tree


@dataclass(slots=True)
class Calls:
    """Calls of one service by another."""

    calls: int = 0
    errors: int = 0


class Linker:
    """Sums links over traces."""

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], Calls] = {}

    def add_trace(self, spans: Sequence[Span]) -> None:
        """Count the links of one whole trace."""
        if not spans:
            return
        root = build_tree(spans)
        for node in root.walk():
            self._add_node(node, node is root)

    def add(self, parent: str, child: str, calls: int, errors: int) -> None:
        """Count calls that are known already."""
        link = self.links.setdefault((parent, child), Calls())
        link.calls += calls
        link.errors += errors

    def json(self) -> list[dict[str, object]]:
        """The links as the API has them."""
        return [
            {"parent": parent, "child": child, "callCount": link.calls}
            | ({"errorCount": link.errors} if link.errors else {})
            for (parent, child), link in self.links.items()
        ]

    def _add_node(self, node: Node, is_root: bool) -> None:
        span = node.span
        assert span is not None  # walk() gives none without
        kind = _kind(span)
        if not kind or (span.kind == "CLIENT" and node.children):
            return  # of a client that has children, the server names the callee
        local, remote = span.local.service, span.remote.service
        serves = kind in ("SERVER", "CONSUMER")
        parent, child = (remote, local) if serves else (local, remote)
        if serves and is_root and not parent:
            return
        error = "error" in span.tags
        if kind in ("SERVER", "CLIENT"):
            parent, error = self._through_ancestor(node, span, kind, parent, error)
        if parent and child:
            self.add(parent, child, 1, int(error))

    def _through_ancestor(
        self, node: Node, span: Span, kind: str, parent: str, error: bool
    ) -> tuple[str, bool]:
        """Parent and error as the nearest ancestor that crossed the network knows them."""
        ancestor = next((a for a in node.ancestors() if a.kind), None)
        if ancestor is None or not ancestor.local.service:
            return parent, error
        caller, local = ancestor.local.service, span.local.service
        if kind == "CLIENT" and local and caller != local:
            self.add(caller, local, 1, 0)  # a hop that nobody reported
        if kind == "SERVER" or not parent:
            parent = caller
        if ancestor.kind == "CLIENT" and span.parent_id and span.parent_id == ancestor.id:
            error = error or "error" in ancestor.tags
        return parent, error


def _kind(span: Span) -> str:
    """The kind to link by: a span without one that knows both sides is a client."""
    if span.kind:
        return span.kind
    return "CLIENT" if span.local.service and span.remote.service else ""


def link_traces(traces: Iterable[Sequence[Span]]) -> Linker:
    """The links of whole traces."""
    linker = Linker()
    for trace in traces:
        linker.add_trace(trace)
    return linker
