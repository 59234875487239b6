"""Real servers that tests of several packages talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import kafka_broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_broker.KafkaBroker]:
    """A running Kafka broker; skips where its parts are not there."""
    if reason := kafka_broker.missing():
        pytest.skip(reason)
    started = kafka_broker.KafkaBroker(tmp_path_factory.mktemp("kafka"))
    started.start()
    yield started
    started.kill()
