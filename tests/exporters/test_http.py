"""The HTTP client of the destinations, against real sockets."""

from __future__ import annotations

import gc
import socket
import struct
import warnings
from threading import Thread

import pytest

from exporters.http import HttpClient, retry_after
from exporters.parcel import Unavailable


@pytest.mark.parametrize(
    ("value", "seconds"), [("5", 5.0), ("", None), (None, None), ("soon", None)]
)
def test_reads_retry_after(value: str | None, seconds: float | None) -> None:
    """A number of seconds is understood, nonsense ignored."""
    assert retry_after(value) == seconds


def test_reads_retry_after_dates() -> None:
    """A date in the past means now."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_a_reset_as_tls_begins_leaves_no_socket_open() -> None:
    """A server or balancer that hangs up at once costs an attempt, and Python warns of nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_hang_up, args=(listener, 20), daemon=True).start()
        client = HttpClient(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(20):
                with pytest.raises(Unavailable, match="https://"):
                    client.post("/", b"x", {}, 5)
                gc.collect()
        client.close()
    assert [warning for warning in told if warning.category is ResourceWarning] == []


def _hang_up(listener: socket.socket, times: int) -> None:
    for _ in range(times):
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def test_a_deadline_that_has_come_is_no_failure_of_the_parcel(closed_port: int) -> None:
    """With no time left the destination cannot be reached; the request is not called wrong."""
    with pytest.raises(Unavailable):
        HttpClient(f"http://127.0.0.1:{closed_port}").post("/api/v2/spans", b"[]", {}, 0.0)
