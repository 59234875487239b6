"""A real Kafka broker, one node, KRaft, on jars that scripts/parts-kafka fetches."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HOME = Path(os.environ.get("LOOKOUT_KAFKA_HOME") or Path(__file__).parents[1] / ".parts" / "kafka")


def missing() -> str:
    """Why there can be no broker here; empty when there can."""
    if not list(HOME.glob("kafka_2*.jar")):
        return f"no Kafka jars in {HOME} (scripts/parts-kafka fetches them)"
    return "" if shutil.which("java") else "Kafka needs Java"


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class KafkaBroker:
    """A broker on a directory and two ports of its own; it may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port, controller = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "server.properties"
        self._config.write_text(
            "process.roles=broker,controller\n"
            "node.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{controller}\n"
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}\n"
            f"advertised.listeners=PLAINTEXT://{self.address}\n"
            "controller.listener.names=CONTROLLER\n"
            f"log.dirs={directory / 'data'}\n"
            "num.partitions=4\n"
            "offsets.topic.replication.factor=1\n"
            "transaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\n"
            "offsets.topic.num.partitions=1\n"
            "group.initial.rebalance.delay.ms=0\n"
            "group.min.session.timeout.ms=500\n"
            "broker.session.timeout.ms=1500\n"
            "broker.heartbeat.interval.ms=200\n"
        )
        self._java("kafka.tools.StorageTool", "format", "-t", "bG9va291dC10ZXN0cy0wMQ",
                   "-c", str(self._config)).wait(60)  # fmt: skip

    def start(self) -> None:
        """Start and wait until it listens."""
        self._process = self._java("kafka.Kafka", str(self._config))
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, self._log()
                assert time.monotonic() < deadline, "Kafka does not listen"
                time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def _log(self) -> str:
        return (self._directory / "output").read_text()[-2000:]

    def _java(self, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self._directory / "output", "ab") as output:
            return subprocess.Popen(
                ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 "-cp", f"{HOME}/*", main, *arguments],
                stdout=output, stderr=output, cwd=self._directory,
            )  # fmt: skip
