"""What this machine is called by others."""

from __future__ import annotations

import functools
import socket


@functools.cache
def local_ipv4() -> str | None:
    """The address packets leave this machine from, None when it has no route.

    Connecting a datagram socket sends nothing; it only has the kernel choose a route.
    192.0.2.1 is reserved for documentation (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return None
