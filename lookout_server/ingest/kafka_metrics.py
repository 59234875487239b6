"""What ``/metrics`` tells about the reading of Kafka."""

from __future__ import annotations

from prometheus_client import Counter

from ..self_metrics import Reading, SelfMetrics


class KafkaMetrics:
    """Counters, and gauges of the partitions this collector has now."""

    def __init__(self, metrics: SelfMetrics) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            name = f"lookout_collector_kafka_{name}"
            return Counter(name, text, labels, registry=metrics.registry)

        self.messages = counter("messages", "Messages taken from Kafka.", "topic")
        self.malformed = counter("malformed", "Messages skipped: they are malformed.", "topic")
        self.rebalances = counter("rebalances", "Times partitions were dealt out anew.")
        self.connected = False
        #: Messages not committed, by topic and partition.
        self.lag: dict[tuple[str, int], int] = {}
        metrics.gauge(
            "kafka_lag",
            "Messages of a partition that are not stored and committed yet.",
            ("topic", "partition"),
            self._lags,
        )
        metrics.gauge(
            "kafka_connected",
            "1 while the brokers answer.",
            (),
            lambda: [((), float(self.connected))],
        )

    def _lags(self) -> Reading:
        lags = sorted(self.lag.items())
        return [((topic, str(number)), lag) for (topic, number), lag in lags]
