"""What can be wrong with a meter's definition, as typed errors.

Only :class:`~lookout_client.registry.Registry` raises these, and only where meters are created.
Recording into a meter never raises, and the module-level functions of :mod:`lookout_client`
report instead of raising.
"""

from __future__ import annotations


class MeterError(ValueError):
    """A meter was asked for in a way that cannot be honoured."""


class InvalidName(MeterError):
    """The metric's name or one of its tag keys is not a non-empty text."""


class InvalidUnit(MeterError):
    """The unit or mtype is not one Metrics 2.0 can express."""


class MeterClash(MeterError):
    """The name already belongs to a meter of another type, unit or tag keys.

    ``existing`` and ``wanted`` describe both sides.
    """

    def __init__(self, name: str, existing: str, wanted: str) -> None:
        super().__init__(f"cannot create {name!r} as {wanted}: it already exists as {existing}")
        self.name = name
        self.existing = existing
        self.wanted = wanted
