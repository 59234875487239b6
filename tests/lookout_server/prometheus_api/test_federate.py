"""``/federate`` gives the newest samples as text."""

from __future__ import annotations

import time

from starlette.testclient import TestClient

from .test_api import write


def test_federation(client: TestClient) -> None:
    """Series come sorted by name, with an instance, value and time."""
    now = int(time.time() * 1000)
    write(
        client,
        ({"__name__": "b", "job": "x", "text": 'q"\\'}, [(now - 1000, 1.0), (now, 2.5)]),
        ({"__name__": "a", "job": "x", "instance": "i"}, [(now, 1.0)]),
        ({"__name__": "old", "job": "x"}, [(now - 400_000, 1.0)]),
    )
    answer = client.get("/federate", params={"match[]": '{job="x"}'})
    assert answer.text == (
        f'# TYPE a untyped\na{{instance="i",job="x"}} 1 {now}\n'
        f'# TYPE b untyped\nb{{instance="",job="x",text="q\\"\\\\"}} 2.5 {now}\n'
    )


def test_bad_selector(client: TestClient) -> None:
    """Errors are plain text."""
    answer = client.get("/federate", params={"match[]": "{"})
    assert answer.status_code == 400
    assert answer.text == "1:2: parse error: unexpected end of input inside braces\n"
    assert answer.headers["content-type"].startswith("text/plain")


def test_everything_may_be_asked_for(client: TestClient) -> None:
    """A selector without matchers federates all series."""
    write(client, ({"__name__": "a"}, [(int(time.time() * 1000), 1.0)]))
    answer = client.get("/federate", params={"match[]": "{}"})
    assert answer.status_code == 200
    assert answer.text.startswith("# TYPE a untyped\na{")
