"""ClickHouse inside this process (chDB): the store of a single machine.

chDB allows one directory per process and one process per directory, holds the GIL not at all
during queries, runs queries of separate connections in parallel, and must never be forked
after it was opened.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .parameters import encode
from .port import LIMIT_CODES, Limits, StoreError, StoreLimit, StoreUnavailable

_CODE = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)


class StoreLocked(StoreError):
    """Another process owns the directory."""


class EmbeddedStore:
    """Owner of one ClickHouse directory. See :class:`.port.Store`."""

    def __init__(
        self,
        path: Path,
        *,
        memory_bytes: int = 2**30,
        readers: int = 4,
        limits: Limits | None = None,
    ) -> None:
        """Open or create the database at ``path``. Raises StoreLocked, StoreUnavailable."""
        # A tenth of a second and 100 MB: imported by the process that stores, not by every one.
        from chdb.state.sqlitelike import Connection

        path.mkdir(parents=True, exist_ok=True)
        cache = memory_bytes // 8
        url = (
            f"{path.resolve()}?max_server_memory_usage={memory_bytes}"
            f"&mark_cache_size={cache}&background_pool_size=2"
        )
        self._connect: Callable[[], Any] = partial(Connection, url)
        self._limits = limits or Limits()
        self._writing = threading.Lock()
        self._writer = self._open(path)
        self._readers: queue.LifoQueue[_Reader] = queue.LifoQueue()
        self._spare = threading.Semaphore(readers)

    def _open(self, path: Path) -> Any:
        try:
            connection = self._connect()
        except Exception as error:
            text = str(error)
            if "Cannot lock file" in text:
                raise StoreLocked(f"{path} is in use by another process") from None
            raise StoreUnavailable(f"cannot open the database at {path}: {text}") from error
        # Insert settings: bodies of one batch stay one block, so that one token covers them.
        connection.query("SET session_timezone = 'UTC', max_insert_block_size = 2000000")
        return connection

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        columns = ", ".join(f"`{name}`" for name in rows.column_names)
        sql = (
            f"INSERT INTO {table} ({columns}) "
            f"SETTINGS insert_deduplication_token = '{token}', async_insert = 0"
        )
        with (
            self._writing,
            _translated(),
            self._writer.send_insert(sql, "ArrowStream") as stream,
        ):
            stream.append(_ipc(rows))
            stream.finish()

    def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        mark: str | None = None,
    ) -> pa.Table:
        with self._reader() as reader, _translated():
            reader.limit(limits or self._limits)
            text = f"/* {mark} */ {sql}" if mark else sql
            result = reader.connection.query(text, "ArrowStream", params=encode(parameters or {}))
            return pa.ipc.open_stream(_buffer(result)).read_all()

    def cancel(self, mark: str) -> None:
        """Stop the fetches that were given this mark. The callers get a StoreError."""
        self.execute(
            f"KILL QUERY WHERE startsWith(query, '/* {mark} */') ASYNC",
        )

    def execute(self, sql: str) -> None:
        with self._writing, _translated():
            self._writer.query(sql)

    def close(self) -> None:
        with self._writing:
            while not self._readers.empty():
                self._readers.get_nowait().connection.close()
            self._writer.close()

    @contextmanager
    def _reader(self) -> Iterator[_Reader]:
        with self._spare:
            try:
                reader = self._readers.get_nowait()
            except queue.Empty:
                reader = _Reader(self._connect())
            try:
                yield reader
            except BaseException:
                # A connection whose query failed gives what that query had so far as the answer
                # to the next one.
                reader.connection.close()
                raise
            self._readers.put(reader)


class _Reader:
    """A connection and the limits it was last given (settings live per connection)."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._limits: Limits | None = None
        # Filters asked piece by piece as these are read cost a rare tag twice the time, and nothing
        # is remembered of pieces that have it not.
        connection.query("SET session_timezone = 'UTC', use_skip_indexes_on_data_read = 0")

    def limit(self, limits: Limits) -> None:
        if limits == self._limits:
            return
        self.connection.query(
            f"SET max_execution_time = {max(limits.seconds, 0.001)}, "
            f"max_memory_usage = {limits.memory_bytes}, max_threads = {limits.threads}"
        )
        self._limits = limits


def _buffer(result: Any) -> pa.Buffer:
    """The bytes of a result where they are; the buffer keeps the result alive.

    Copying the 140 MB of six million samples took a quarter of the time of reading them.
    """
    view = result.get_memview()
    memory = np.frombuffer(view.view(), dtype=np.uint8)
    if not len(memory):
        return pa.py_buffer(b"")
    return pa.foreign_buffer(memory.ctypes.data, len(memory), base=(result, view))


def _ipc(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(memoryview(sink.getvalue()))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise translate(str(error)) from error


def translate(text: str) -> StoreError:
    """The port's error for a message of ClickHouse, which carries ``Code: N``."""
    match = _CODE.search(text)
    if not match:
        return StoreError(text)
    code, message = int(match[1]), match[2].strip()
    return (StoreLimit if code in LIMIT_CODES else StoreError)(message, code)
