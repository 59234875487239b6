"""Spans of a shop: 100 services calling each other and 12 databases, as SpanColumns.

Deterministic by seed. The mix: traces of 1 to 300 spans (median about 12), 20 names a service,
some 5 % shared ids, 3 % errors, 4 to 9 tags of few and many values, an annotation on every second
span.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import numpy as np

from lookout_server.spans.columns import ERROR, KIND_MASK, SHAPE_SEPARATOR, SHARED, SpanColumns
from lookout_server.spans.model import KIND_CODES, KINDS

SERVICES = [f"service-{n:02}" for n in range(100)]
BACKENDS = [f"backend-{n:02}" for n in range(12)]
NAMES = [f"/api/{noun}/{n}" for n in range(5) for noun in ("get", "list", "put", "check")]
REGIONS = ["eu-west", "eu-east", "us-west", "us-east"]
_CLIENT, _SERVER = KIND_CODES["CLIENT"], KIND_CODES["SERVER"]


def span_batches(
    count: int, end_us: int, hours: float, seed: int = 1, batch: int = 50_000
) -> Iterator[SpanColumns]:
    """``count`` spans in whole traces, oldest first, over the hours before ``end_us``."""
    generator = _Generator(seed)
    made = 0
    begin = end_us - int(hours * 3_600_000_000)
    while made < count:
        while len(generator) < min(batch, count - made):
            progress = (made + len(generator)) / count
            generator.add_trace(begin + int(progress * (end_us - begin)))
        columns = generator.take()
        made += len(columns)
        yield columns


def as_json(columns: SpanColumns) -> list[dict[str, object]]:
    """The spans as Zipkin's JSON has them."""
    tags = zip(columns.tag_keys, columns.tag_values, strict=True)
    notes = zip(columns.annotation_times, columns.annotation_values, strict=True)
    return [
        {
            "traceId": f"{columns.high[n]:016x}{columns.low[n]:016x}",
            "id": f"{columns.ids[n]:016x}",
            **({"parentId": f"{columns.parents[n]:016x}"} if columns.parents[n] else {}),
            "kind": KINDS[columns.flags[n] & KIND_MASK],
            "name": columns.names[n],
            "timestamp": int(columns.timestamps[n]),
            "duration": int(columns.durations[n]),
            "localEndpoint": {
                "serviceName": columns.services[n],
                "ipv4": columns.local_address[n].split("|")[0],
                "port": 8080,
            },
            **(
                {"remoteEndpoint": {"serviceName": columns.remote_services[n], "port": 5432}}
                if columns.remote_services[n]
                else {}
            ),
            "tags": dict(islice(tags, columns.tag_counts[n])),
            "annotations": [
                {"timestamp": at, "value": value}
                for at, value in islice(notes, columns.annotation_counts[n])
            ],
            "shared": bool(columns.flags[n] & SHARED),
        }
        for n in range(len(columns))
    ]


class _Generator:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._reset()

    def __len__(self) -> int:
        return len(self._columns)

    def take(self) -> SpanColumns:
        columns = self._columns
        columns.set_packed_ids(b"".join(self._ids))
        columns.timestamps = np.array(self._timestamps, np.int64)
        columns.durations = np.array(self._durations, np.int64)
        columns.tenant = "default"
        columns.received_ms = self._timestamps[-1] // 1000 + 5000
        self._reset()
        return columns

    def add_trace(self, start_us: int) -> None:
        """A tree of calls below one root."""
        chance = self._random
        size = min(300, max(1, int(chance.lognormvariate(2.5, 0.9))))
        trace = chance.randbytes(16)
        entry = chance.randrange(100)
        spans = [(bytes(8), chance.randbytes(8), entry, start_us, 0)]
        self._add(trace, *spans[0], _SERVER, "")
        for _ in range(size - 1):
            parent_service = spans[chance.randrange(len(spans))]
            _, parent, service, begin, depth = parent_service
            begin += chance.randrange(100, 20_000)
            id = chance.randbytes(8)
            if chance.random() < 0.45:
                backend = BACKENDS[service % 12]
                self._add(trace, parent, id, service, begin, depth, _CLIENT, backend)
                continue
            callee = (service * 7 + chance.randrange(4)) % 100
            spans.append((parent, id, callee, begin, depth + 1))
            shared = chance.random() < 0.1
            self._add(trace, parent, id, callee, begin, depth, _SERVER | SHARED * shared, "")

    def _reset(self) -> None:
        self._columns = SpanColumns()
        self._ids: list[bytes] = []
        self._timestamps: list[int] = []
        self._durations: list[int] = []

    def _add(
        self,
        trace: bytes,
        parent: bytes,
        id: bytes,
        service: int,
        start_us: int,
        depth: int,
        flags: int,
        remote: str,
    ) -> None:
        chance, columns = self._random, self._columns
        self._ids += (trace, parent, id)
        self._timestamps.append(start_us)
        self._durations.append(int(chance.lognormvariate(8.5, 1.5)))
        tags = {
            "http.method": "GET",
            "http.path": f"/shop/{chance.randrange(2000)}",
            "http.status_code": "200",
            "region": REGIONS[service % 4],
            "instance.id": f"{SERVICES[service]}-{chance.randrange(20)}",
        }
        if depth == 0:
            tags["user.id"] = str(chance.randrange(10**7))
        if chance.random() < 0.03:
            tags["error"] = "timeout"
            flags |= ERROR
        if chance.random() < 0.0001:
            tags["rare"] = "yes"
        columns.flags.append(flags)
        columns.names.append(NAMES[(service * 3 + int(chance.random() ** 3 * 20)) % 20])
        columns.services.append(SERVICES[service])
        columns.local_address.append(f"10.0.{service}.{chance.randrange(20)}||8080")
        columns.remote_services.append(remote)
        columns.remote.append(f"||5432|{remote}" if remote else "")
        columns.shapes.append(SHAPE_SEPARATOR.join(tags))
        columns.tag_counts.append(len(tags))
        columns.tag_keys.extend(tags)
        columns.tag_values.extend(tags.values())
        annotated = chance.random() < 0.5
        columns.annotation_counts.append(int(annotated))
        if annotated:
            columns.annotation_times.append(start_us + chance.randrange(1000))
            columns.annotation_values.append("ws" if chance.random() < 0.5 else "wr")
