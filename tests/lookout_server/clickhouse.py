"""A real ClickHouse server as a process: the engine's library, told to listen.

Run as a script it is that process: ``clickhouse.py LIBRARY DIR TCP_PORT [CONFIG]``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIBRARY = Path(__file__).parents[2] / ".parts" / "clickhouse" / "libchdb.so"
MISSING = f"no ClickHouse server: {LIBRARY} is absent (scripts/parts-clickhouse installs it)"

_KEEP_ALIVE = (
    "SYSTEM START LISTEN TCP; SELECT sleepEachRow(1) FROM numbers(100000) "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0 FORMAT Null"
)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ClickHouseServer:
    """One server on a directory and a port of its own."""

    path: Path
    port: int
    config: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"clickhouse://127.0.0.1:{self.port}/default"

    def start(self) -> None:
        """Start and wait until it answers."""
        self.path.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(LIBRARY), str(self.path), str(self.port)]
        command += [str(self.config)] if self.config else []
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, "the ClickHouse process ended"
                assert time.monotonic() < deadline, "the ClickHouse server does not listen"
                time.sleep(0.05)

    def stop(self) -> None:
        """Kill it: the harsh way is the interesting one."""
        if self.process:
            self.process.kill()
            self.process.wait(30)
            self.process = None


_SHARD = """<shard><internal_replication>true</internal_replication><replica>
<host>127.0.0.1</host><port>{port}</port></replica></shard>"""


KEEPER = LIBRARY.parents[1] / "kafka"  # ZooKeeper comes with the Kafka broker's jars


def keeper_missing() -> str:
    """Why there can be no Keeper here; empty when there can."""
    if not list(KEEPER.glob("zookeeper-3*.jar")):
        return f"no ZooKeeper jar in {KEEPER} (scripts/parts-kafka fetches it)"
    return "" if shutil.which("java") else "ZooKeeper needs Java"


@contextmanager
def keeper(folder: Path) -> Iterator[int]:
    """A ZooKeeper of one node; its port."""
    port = free_port()
    command = ["java", "-Xmx128m", "-Dzookeeper.admin.enableServer=false", "-cp", f"{KEEPER}/*"]
    command += ["org.apache.zookeeper.server.ZooKeeperServerMain", str(port), str(folder / "zk")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "ZooKeeper ended"
                assert time.monotonic() < deadline, "ZooKeeper does not listen"
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait(30)


_REPLICA = """<clickhouse>
<interserver_http_port>{exchange}</interserver_http_port>
<interserver_http_host>127.0.0.1</interserver_http_host>
<zookeeper><node><host>127.0.0.1</host><port>{keeper}</port></node></zookeeper>
<macros><shard>1</shard><replica>{name}</replica></macros>
<remote_servers><main><shard><internal_replication>true</internal_replication>{replicas}</shard>
</main></remote_servers></clickhouse>"""


def replicas(folder: Path, count: int, keeper_port: int) -> list[ClickHouseServer]:
    """Started servers that are the replicas of the one shard of a cluster named ``main``."""
    ports = [free_port() for _ in range(count)]
    each = "".join(
        f"<replica><host>127.0.0.1</host><port>{port}</port></replica>" for port in ports
    )
    servers = []
    for port in ports:
        config = folder / f"replica-{port}.xml"
        config.write_text(
            _REPLICA.format(
                exchange=free_port(), keeper=keeper_port, name=f"replica-{port}", replicas=each
            )
        )
        servers.append(ClickHouseServer(folder / f"replica-{port}", port, config))
        servers[-1].start()
    return servers


def shards(folder: Path, count: int) -> list[ClickHouseServer]:
    """Started servers that are the shards of a cluster named ``main``."""
    ports = [free_port() for _ in range(count)]
    config = folder / "cluster.xml"
    parts = "".join(_SHARD.format(port=port) for port in ports)
    config.write_text(
        f"<clickhouse><remote_servers><main>{parts}</main></remote_servers></clickhouse>"
    )
    servers = [ClickHouseServer(folder / f"shard-{port}", port, config) for port in ports]
    for server in servers:
        server.start()
    return servers


def _main(library: str, path: str, port: str, config: str | None = None) -> None:
    if sys.platform == "linux":  # end with the test process, however that ends
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    engine = ctypes.CDLL(library, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
    arguments = [
        "clickhouse",
        "--listen_host=127.0.0.1",
        f"--tcp_port={port}",
        f"--path={path}",
        f"--query={_KEEP_ALIVE}",
    ]
    arguments += [f"--config-file={config}"] if config else []
    values = (ctypes.c_char_p * len(arguments))(*(text.encode() for text in arguments))
    engine.chdb_query_cmdline.restype = ctypes.c_void_p
    result = engine.chdb_query_cmdline(len(arguments), values)
    engine.chdb_result_error.restype = ctypes.c_char_p
    engine.chdb_result_error.argtypes = [ctypes.c_void_p]
    sys.exit((engine.chdb_result_error(result) or b"ended").decode())


if __name__ == "__main__":
    _main(*sys.argv[1:])
