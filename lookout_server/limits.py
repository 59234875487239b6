"""What one tenant may send, and how many tenants there may be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a body is refused for now."""

    reason: str  # for the count
    text: str  # for the client
    retry_after: float  # seconds


class TenantLimits:
    """A token bucket of bytes per tenant, two seconds deep, for a bounded number of tenants."""

    def __init__(
        self, max_tenants: int, bytes_per_second: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_tenants = max_tenants
        self._rate = bytes_per_second
        self._clock = clock
        self._full_at: dict[str, float] = {}  # when the tenant's bucket is full again

    def refusal(self, tenant: str, size: int) -> Refusal | None:
        """Take ``size`` bytes out of the tenant's bucket; None when it may pass."""
        full_at = self._full_at.get(tenant)
        if full_at is None:
            if len(self._full_at) >= self._max_tenants:
                text = f"there are {self._max_tenants} tenants already, the limit (max_tenants)"
                return Refusal("max_tenants", text, 60)
            full_at = 0.0
        if self._rate == 0:
            self._full_at[tenant] = full_at
            return None
        now = self._clock()
        debt = max(full_at - now, 0.0)
        if debt > 2.0:
            text = f"tenant {tenant} sends more than {self._rate} bytes a second (tenant_rate)"
            return Refusal("tenant_rate", text, debt - 2.0)
        self._full_at[tenant] = now + debt + size / self._rate
        return None
