"""The pytest fixture ``traces``. Imports the tracer only where a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tracer.testing import Recorder


@pytest.fixture
def traces() -> Iterator[Recorder]:
    """The spans that the test's code finishes: a :class:`tracer.testing.Recorder`."""
    from tracer.testing import recording

    with recording() as recorder:
        yield recorder
