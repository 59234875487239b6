"""Which process the metrics are about."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from exporters._host import local_ipv4
from exporters.records import Resource

INSTANCE = "service.instance.id"


def metric_resource(resource: Resource) -> Callable[[], Mapping[str, Any]]:
    """The resource attributes of this process's metrics, asked for anew in each process.

    ``service.instance.id`` keeps the series of several processes apart. It is ``host:pid``
    unless the resource names one; a forked worker adds its pid to that.
    """
    founder = os.getpid()

    def attributes() -> Mapping[str, Any]:
        pid = os.getpid()
        given = resource.attributes.get(INSTANCE)
        if given is None:
            instance = f"{socket.gethostname()}:{pid}"
        else:
            instance = str(given) if pid == founder else f"{given}:{pid}"
        named = {"service.name": resource.service_name, **resource.attributes, INSTANCE: instance}
        return {**named, "process.pid": pid}

    return attributes


def common_tags(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The tags that SOFALookout puts on every metric, from the resource and this machine.

    ``attributes`` are those of this process's metrics. ``app``, ``ip`` and ``instance_id``
    always, ``host`` and ``zone`` where they are known. SOFALookout tells the instance only where
    it was given; workers of one machine would report the same series over each other.
    """
    found = {
        "app": attributes["service.name"],
        "ip": local_ipv4() or "127.0.0.1",
        "host": attributes.get("host.name") or socket.gethostname(),
        "zone": attributes.get("cloud.availability_zone"),
        "instance_id": attributes[INSTANCE],
    }
    return {key: str(value) for key, value in found.items() if value}
