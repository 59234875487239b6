"""``lookout query`` shows what PromQL answers."""

from __future__ import annotations

import json
import re
import time

import pytest
from click.testing import CliRunner

from lookout_server.commands._elasticsearch import bulk_lines
from lookout_server.commands.query import command

from ..serving import Serve, Serving
from .remote import HEADERS, write_request


@pytest.fixture
def loaded(serve: Serve) -> Serving:
    """A collector with a gauge that grows for five minutes."""
    serving = serve("--retention", "0")
    now = int(time.time()) * 1000
    points = [(now - 300_000 + 15_000 * step, float(step)) for step in range(21)]
    body = write_request([({"__name__": "size", "kind": "a"}, points)])
    assert serving.request("/api/v1/write", body, HEADERS)[0] == 204
    return serving


def run(serving: Serving, *arguments: str) -> str:
    done = CliRunner().invoke(command, [*arguments, "--url", serving.url])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_form_of_answer(loaded: Serving) -> None:
    """A table, CSV, JSON and a graph of the same series."""
    assert 'size{kind="a"}     20' in run(loaded, "size")
    lines = run(loaded, "size", "--csv").splitlines()
    assert lines[0] == "time,value,__name__,kind"
    assert lines[1].endswith(",20,size,a")
    answer = json.loads(run(loaded, "size", "--json"))
    assert answer["result"][0]["value"][1] == "20"
    graph = run(loaded, "size", "--range", "5m")
    assert '── size{kind="a"}' in graph
    assert graph.splitlines()[1].startswith(" 20│")
    assert run(loaded, "nothing").strip() == "no series"
    none = CliRunner().invoke(command, ["nothing", "--range", "5m", "--url", loaded.url])
    assert (none.stdout, none.exit_code) == ("no series\n", 0)
    assert "every 15 s" in none.stderr
    none = CliRunner().invoke(command, ["nothing", "--csv", "--url", loaded.url])
    assert (none.stdout, none.exit_code) == ("time,value\n", 0)
    assert none.stderr.startswith("no series\nnew ones take a moment")


def test_c11_sofalookouts_documents(loaded: Serving) -> None:
    """A bulk request of the documents its gateway writes to Elasticsearch, raw samples too."""
    lines = run(loaded, "size", "--elasticsearch").splitlines()
    assert [json.loads(line) for line in lines[::2]] == [{"index": {}}]
    found = json.loads(lines[1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.pop("time"))
    assert found == {"id": "size", "value": 20.0, "tags": ["kind=a"]}
    many = run(loaded, "size[10m]", "--elasticsearch").splitlines()
    assert [json.loads(line)["value"] for line in many[1::2]] == [float(n) for n in range(21)]


def test_c11_a_document_is_as_recorded() -> None:
    """Seconds without a fraction, tags as texts and only where there are any, numbers alone."""
    tags = {"__name__": "jvm.memory.free", "k2": "v2", "k1": "v1"}
    samples = [
        (tags, 1522312041.2, "12"),
        ({"__name__": "n"}, 0.0, "-0.5"),
        (tags, 0.0, "NaN"),
        (tags, 0.0, "+Inf"),
        (tags, 0.0, "histogram of 3"),
    ]
    assert list(bulk_lines(samples)) == [
        '{"index":{}}',
        '{"time":"2018-03-29T08:27:21Z","id":"jvm.memory.free","value":12.0,"tags":["k1=v1","k2=v2"]}',
        '{"index":{}}',
        '{"time":"1970-01-01T00:00:00Z","id":"n","value":-0.5}',
    ]


def test_errors_are_one_line(loaded: Serving) -> None:
    """A query that is wrong is told in the API's words."""
    done = CliRunner().invoke(command, ["sum(", "--url", loaded.url])
    assert done.exit_code == 1
    assert done.output.startswith('Error: invalid parameter "query": 1:5: parse error')
