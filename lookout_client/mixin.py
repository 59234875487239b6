"""Mixins: metrics about one thing, reported together on one line.

``rpc = Mixin(registry, "rpc.consumer", service="orders")`` has components such as
``rpc.counter("total_count")``. Each is an ordinary metric, here ``rpc.consumer.total_count``;
SOFALookout's protocol puts those of the same tags on one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .meters import Counter, DistributionSummary, Gauge, Timer
from .metric import checked_name, tag_set
from .registry import Registry
from .steps import Priority


class Mixin:
    """A name, tags and a priority that several components share."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        tags: Mapping[str, object] | None = None,
        /,
        *,
        priority: Priority | str = Priority.NORMAL,
        **more_tags: object,
    ) -> None:
        self.registry = registry
        self.name = checked_name(name)
        self.tags = dict(tag_set({**(tags or {}), **more_tags}))
        self.priority = Priority.of(priority)

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "priority": self.priority, "group": self.name}

    def _named(self, component: str) -> str:
        return f"{self.name}.{checked_name(component)}"

    def counter(self, component: str, **options: Any) -> Counter:
        """A component that counts."""
        return self.registry.counter(self._named(component), self.tags, **self._options(options))

    def timer(self, component: str, **options: Any) -> Timer:
        """A component that times."""
        options.setdefault("buckets", ())
        return self.registry.timer(self._named(component), self.tags, **self._options(options))

    def summary(self, component: str, **options: Any) -> DistributionSummary:
        """A component that sums up amounts."""
        return self.registry.summary(self._named(component), self.tags, **self._options(options))

    def gauge(
        self, component: str, callback: Callable[[], float] | None = None, **options: Any
    ) -> Gauge:
        """A component that is what it is."""
        return self.registry.gauge(
            self._named(component), self.tags, callback, **self._options(options)
        )
