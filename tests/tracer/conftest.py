"""Every test starts with nothing current and a recorder in place of the process's set-up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tracer.testing import Recorder, recording

# Nothing is timed in tests: a machine under load must not fail them.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def traces() -> Iterator[Recorder]:
    """The spans that finish during a test; ids count from 1, the clock ticks 1 ms a reading."""
    with recording() as recorder:
        yield recorder
