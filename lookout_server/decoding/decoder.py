"""Decides where a body is decoded: here, or in a second process while there is much to decode."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from ..http import INLINE_BYTES, Overloaded
from ..metrics import span_body
from ..signal import Receipt, Rows
from ..writer import Decode
from .frames import Settings
from .link import Decoded, Failed, Link, Lost, Mirror
from .load import Load
from .process import LastWords, Process, missing
from .span_rows import SpanMirror
from .suspects import Suspects

log = logging.getLogger("lookout.decoding")

#: Smaller bodies cost more to send than to decode.
_LEAST_BYTES: Final = 4096
#: These are columns already, and their series numbered where they are made.
_READ_HERE: Final = frozenset({span_body.FORMAT})
#: Until a process is there that may read a body which the last one did not survive.
_PATIENCE_SECONDS: Final = 5.0
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 5.0
_PAUSES: Final = (0.1, 1.0, 5.0, 30.0)
#: No body takes so long to read: a process that has not answered for it hangs.
_HANGS_SECONDS: Final = 60.0
#: A process that had nothing to do for so long is not kept.
_IDLE_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 5.0
#: A process that lived so long did well.
_STEADY_SECONDS: Final = 60.0

_SPANS_ALONE: Final[Mapping[str, Callable[[], Mirror]]] = {"spans": SpanMirror}


class Decoder:
    """See :class:`lookout_server.server.Service`. Lives on the event loop.

    Without ``settings`` there is never a second process, nor where the system cannot have one,
    which is logged. ``always``: it is there from the start, for bodies of any size. ``mirrors`` are
    made for each process; other signals stay here.
    """

    def __init__(
        self,
        decoders: Mapping[str, Decode],
        settings: Settings | None = None,
        mirrors: Mapping[str, Callable[[], Mirror]] = _SPANS_ALONE,
        always: bool = False,
    ) -> None:
        self.restarts = 0
        self.bodies = {"collector": 0, "process": 0}
        self._decoders = decoders
        self._settings = settings if settings is not None and _possible() else None
        self._mirrors = mirrors
        self._always = always
        self._least_bytes = 0 if always else _LEAST_BYTES
        self._load = Load()
        self._suspects = Suspects()
        self._link: Link | None = None
        self._opened: Link | None = None  # the same, already while the process starts
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()  # while there is a link
        self._tried = asyncio.Event()  # the first process is there, or it failed
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Number of the second process, where there is one."""
        return None if self._link is None or self._process is None else self._process.pid

    @property
    def waiting(self) -> tuple[int, int]:
        """Bodies under way to it, and their bytes."""
        return (0, 0) if self._link is None else (self._link.waiting, self._link.bytes_waiting)

    async def start(self) -> None:
        """Have the second process at once, if it is to be there always."""
        if self._always and self._settings is not None:
            self._keep()
            await self._tried.wait()

    async def stop(self) -> None:
        """Have what is under way answered, and the process ended; later bodies are decoded here."""
        self._stopping.set()
        keeping, link = self._keeping, self._link
        if keeping is None:
            return
        self._gone()
        if link is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(link.drained(), _END_SECONDS)
        if self._opened is not None:
            self._opened.close()
        await keeping

    async def decode(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Decoded:
        """Rows of a body. Raises Malformed; Overloaded (503) for what no process survives."""
        if body in self._suspects:
            return await self._again(signal, fmt, body, receipt)
        link = self._link
        if link is None or len(body) < self._least_bytes or fmt in _READ_HERE:
            return await self._here(signal, fmt, body, receipt)
        if not link.takes(signal, len(body)):
            return await self._here(signal, fmt, body, receipt)
        self.bodies["process"] += 1
        try:
            return await link.ask(signal, fmt, body, receipt)
        except Failed:
            return await self._here(signal, fmt, body, receipt)
        except Lost as lost:
            if lost.suspect:
                self._suspects.add(body)
                return await self._again(signal, fmt, body, receipt)
            return await self._here(signal, fmt, body, receipt)

    async def _here(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Decoded:
        decode = self._decoders[signal]
        self.bodies["collector"] += 1
        started = time.perf_counter()
        try:
            if len(body) <= INLINE_BYTES:
                rows: Rows = decode(fmt, body, receipt)
            else:
                rows = await asyncio.to_thread(decode, fmt, body, receipt)
        finally:
            if self._load.add(time.perf_counter() - started) and self._keeping is None:
                self._keep()
        return Decoded(rows)

    async def _again(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Decoded:
        """A body that may have ended the process, and would end the collector if it were read here:
        the next process tries, now and for some minutes whenever it comes again.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while (link := self._link) is None:
                    await self._arrived.wait()
                decoded = await link.ask(signal, fmt, body, receipt)
        except Lost:
            self._suspects.add(body)
            raise Overloaded("the process that decodes ended over this body, twice") from None
        except TimeoutError:
            raise Overloaded("the process that decodes ended over this body") from None
        except Failed:
            decoded = await self._here(signal, fmt, body, receipt)
        self._suspects.discard(body)
        return decoded

    # -- the process ---------------------------------------------------------------------

    def _keep(self) -> None:
        if self._settings is not None and not self._stopping.is_set():
            self._keeping = asyncio.create_task(self._keep_one(self._settings))

    async def _keep_one(self, settings: Settings) -> None:
        """Have a process, and when it ends another one, until stopped."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                how = await self._run(settings)
            except Exception as error:  # for want of memory or threads: it may come back
                how = f"{type(error).__name__}: {error}"
            self._tried.set()
            if self._stopping.is_set():
                return
            if how is None:
                self._keeping = None
                return
            failures = 0 if time.monotonic() - began > _STEADY_SECONDS else failures
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            self.restarts += 1
            log.warning(
                "the process that decodes has ended (%s); bodies are decoded in the collector, "
                "and it is started again in %g s",
                how,
                pause,
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return

    async def _run(self, settings: Settings) -> str | None:
        """One process from its start to its end; how it ended, None where it had nothing to do."""
        try:
            process = await asyncio.to_thread(Process, settings)
        except (OSError, RuntimeError) as error:  # it has no file, or there is no thread for it
            return f"it cannot be started: {error}"
        words = LastWords()
        try:
            await asyncio.get_running_loop().connect_read_pipe(lambda: words, process.errors)
            why = await self._serve(process)
        finally:
            self._gone()
            patience = _END_SECONDS if self._stopping.is_set() else 0.5
            how = await asyncio.shield(asyncio.to_thread(process.end, patience))
            last = await words.take()
        return None if why is None else ", ".join(filter(None, (why, how, last)))

    async def _serve(self, process: Process) -> str | None:
        """Why it was ended here, if it was; None where it had nothing to do."""
        loop = asyncio.get_running_loop()
        link = Link({signal: mirror() for signal, mirror in self._mirrors.items()}, self._gone)
        await loop.create_connection(lambda: link, sock=process.socket)
        self._opened = link
        if self._stopping.is_set():
            link.close()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await link.ready
            if not (link.closed.done() or self._stopping.is_set()):
                self._process, self._link = process, link
                self._arrived.set()
                self._tried.set()
                if self.restarts:
                    log.info("a process decodes again: %d", process.pid)
            return await self._watch(link, process)
        except TimeoutError:
            return f"it was not ready after {_START_SECONDS:g} s"
        finally:
            link.close()
            await link.closed  # before anybody closes the socket beneath it
            self._opened = None

    async def _watch(self, link: Link, process: Process) -> str | None:
        """Until the link is closed; see :meth:`_serve`."""
        why = ""
        while not link.closed.done():
            await asyncio.wait([link.closed], timeout=_LOOK_SECONDS)
            if link.waiting and link.still > _HANGS_SECONDS:
                why = f"it did not answer for {_HANGS_SECONDS:g} s"
                process.kill()
            elif not (self._always or link.waiting) and link.still > _IDLE_SECONDS:
                self._gone()  # before it is closed, so that no body goes there
                return None
        return link.error or why

    def _gone(self) -> None:
        self._link = self._process = None
        self._arrived.clear()


def _possible() -> bool:
    """Whether there can be a second process here; the log says why not."""
    if (what := missing()) is None:
        return True
    log.warning("bodies are decoded in the collector, with no process beside it: %s", what)
    return False
