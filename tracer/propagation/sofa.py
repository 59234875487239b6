"""SOFATracer's forms: one ``sftc_head`` entry, its dotted B3 headers, and its older RPC keys.

The context as text is ``tcid=<trace>&spid=<span>&pspid=<parent>&sample=<true|false>&`` followed by
the baggage, infrastructure items with the prefix ``_sys_``. In keys and values ``%``, ``&`` and
``=`` are escaped. Over HTTP the whole text is URL-encoded once more. Span ids are dotted
("0.1.2"); a 64-bit id is made of one as SOFATracer does for Zipkin, with FNV-1a.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import quote_plus, unquote_plus

from exporters.records import SAMPLED

from ..baggage import MAX_MEMBERS, Baggage
from ..sofa_ids import fnv1a_64
from ..span_context import SpanContext
from . import b3, carriers
from .carriers import Headers
from .source import Source

HEAD = "sftc_head"
_SYS = "_sys_"
_BAGGAGE = "baggage-"
_SYS_BAGGAGE = "baggage-sys-"
_DOTTED = re.compile(r"[0-9]+(\.[0-9]+)*")
_HEX = re.compile(r"[0-9a-fA-F]{1,32}")
#: SOFATracer gives up a trace that is nested deeper.
MAX_LAYERS = 100
_MAX_TEXT = 256  # characters of an id


def escape(text: str) -> str:
    """Escape the three characters that have a meaning in the text form."""
    return text.replace("%", "%25").replace("&", "%26").replace("=", "%3D")


def unescape(text: str) -> str:
    """What :func:`escape` was given."""
    return text.replace("%3D", "=").replace("%26", "&").replace("%25", "%")


def format_items(items: Mapping[str, str], prefix: str = "") -> str:
    """``k=v&`` of every item."""
    return "".join(f"{prefix}{escape(key)}={escape(value)}&" for key, value in items.items())


def parse_items(text: str) -> dict[str, str]:
    """The items of a text form. A second ``=`` begins the key again; what has none is dropped."""
    found: dict[str, str] = {}
    for pair in text.split("&"):
        parts = pair.split("=")
        if len(parts) >= 2:
            found[unescape(parts[-2])] = unescape(parts[-1])
    return found


def format_context(source: Source) -> str:
    """The text form of ``source``."""
    span = source.rpc_id or "0"
    baggage = source.baggage or Baggage()
    sampled = "true" if source.flags & SAMPLED else "false"
    return (
        f"tcid={source.sofa_trace_id or f'{source.trace_id:032x}'}&spid={span}"
        f"&pspid={parent_of(span)}&sample={sampled}&"
        f"{format_items(baggage.sys, _SYS)}{format_items(baggage.biz)}"
    )


def parent_of(span: str) -> str:
    """The dotted id above ``span``, empty for a root."""
    return span.rpartition(".")[0]


def parse_context(text: str) -> SpanContext | None:
    """The context of a text form; None for a blank one.

    As in SOFATracer a missing span id means ``0`` and a missing decision means sampled; without a
    trace id only the baggage and the decision arrive. A trace nested too deeply begins anew.
    """
    fields = parse_items(text)
    if not fields:
        return None
    trace, span = fields.pop("tcid", ""), fields.pop("spid", "") or "0"
    fields.pop("pspid", None)
    sampled = (fields.pop("sample", "") or "true").lower() == "true"
    sys = {
        key[len(_SYS) :]: value for key, value in fields.items() if key.startswith(_SYS) and value
    }
    biz = {key: value for key, value in fields.items() if not key.startswith(_SYS) and value}
    return _context(trace, span, sampled, biz, sys)


def _context(
    trace: str, span: str, sampled: bool, biz: Mapping[str, str], sys: Mapping[str, str]
) -> SpanContext | None:
    baggage = Baggage(_limited(biz), _limited(sys)) if biz or sys else None
    if not trace or len(trace) > _MAX_TEXT or not _DOTTED.fullmatch(span):
        if baggage is None:
            return None
        return SpanContext(0, 0, sampled=sampled, baggage=baggage, is_remote=True)
    if span.count(".") + 1 > MAX_LAYERS:
        return SpanContext(0, 0, sampled=None, baggage=baggage, is_remote=True)
    parent = parent_of(span)
    return SpanContext(
        trace_number(trace),
        fnv1a_64(span),
        sampled=sampled,
        parent_id=fnv1a_64(parent) if parent else 0,
        baggage=baggage,
        is_remote=True,
        rpc_id=span,
        sofa_trace_id=trace,
    )


def _limited(items: Mapping[str, str]) -> Mapping[str, str]:
    return dict(list(items.items())[:MAX_MEMBERS])


def trace_number(text: str) -> int:
    """128 bits for a SOFA trace id: its digits where they are hex, a hash of it otherwise.

    A trailing ``T``, the mark of load tests, is no part of the id.
    """
    text = text.removesuffix("T")
    number = int(text, 16) if _HEX.fullmatch(text) else 0
    return number or int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big") or 1


class Sofa:
    """The propagator ``sofa``: writes ``sftc_head``, reads all of SOFA's forms."""

    fields: tuple[str, ...] = (HEAD,)

    def read(self, headers: Headers) -> SpanContext | None:
        text = carriers.first(headers, HEAD)
        if text:
            # Every non-blank text has a "=" that URL encoding would have hidden.
            return parse_context(text if "=" in text else unquote_plus(text, errors="replace"))
        return _read_b3(headers) or _read_rpc(headers)

    def write(self, source: Source) -> Mapping[str, str]:
        return {HEAD: quote_plus(format_context(source), errors="replace")}

    def write_identity(self, source: Source) -> Mapping[str, str]:
        return self.write(source)


class SofaText(Sofa):
    """The propagator ``sofatext``: ``sftc_head`` as it is, for RPC and message properties."""

    def write(self, source: Source) -> Mapping[str, str]:
        return {HEAD: format_context(source)}


class SofaB3(Sofa):
    """The propagator ``sofab3``: SOFATracer's B3 headers, whose span ids are dotted."""

    fields = (b3.TRACE_ID, b3.SPAN_ID, b3.PARENT_SPAN_ID, b3.SAMPLED_FLAG)

    def write(self, source: Source) -> Mapping[str, str]:
        span = source.rpc_id or "0"
        headers = {
            "X-B3-TraceId": source.sofa_trace_id or f"{source.trace_id:032x}",
            "X-B3-SpanId": span,
            "X-B3-Sampled": "true" if source.flags & SAMPLED else "false",
        }
        if parent := parent_of(span):
            headers["X-B3-ParentSpanId"] = parent
        baggage = source.baggage or Baggage()
        for prefix, items in ((_SYS_BAGGAGE, baggage.sys), (_BAGGAGE, baggage.biz)):
            for key, item in items.items():
                headers[prefix + escape(key)] = quote_plus(escape(item), errors="replace")
        return headers


def _read_b3(headers: Headers) -> SpanContext | None:
    """B3 headers with a dotted span id, which is none of Zipkin's."""
    span = carriers.first(headers, b3.SPAN_ID)
    trace = carriers.first(headers, b3.TRACE_ID)
    if not trace or span is None or not _DOTTED.fullmatch(span):
        return None
    if len(span) == 16 and "." not in span:
        return None  # one of Zipkin's that happens to have no letter
    word = (carriers.first(headers, b3.SAMPLED_FLAG) or "true").lower()
    biz: dict[str, str] = {}
    sys: dict[str, str] = {}
    for name, value in carriers.items(headers):
        if name.startswith(_BAGGAGE):
            text = unescape(unquote_plus(value, errors="replace"))
            # The longer prefix first: SOFATracer lets these leak into the application's items.
            if name.startswith(_SYS_BAGGAGE):
                sys[unescape_name(name[len(_SYS_BAGGAGE) :])] = text
            else:
                biz[unescape_name(name[len(_BAGGAGE) :])] = text
    return _context(trace, span, word in ("true", "1"), biz, sys)


def unescape_name(name: str) -> str:
    """A baggage key out of a header name, which reached us in lower case."""
    return unescape(name.replace("%3d", "%3D"))


def _read_rpc(headers: Headers) -> SpanContext | None:
    """The keys of SOFARPC before 5.1, also used as HTTP headers."""
    trace = carriers.first(headers, "sofa-traceid") or carriers.first(headers, "sofatraceid")
    span = carriers.first(headers, "sofa-rpcid") or carriers.first(headers, "sofarpcid")
    if not trace:
        return None
    biz = parse_items(carriers.first(headers, "sofapenattrs") or "")
    sys = parse_items(carriers.first(headers, "syspenattrs") or "")
    word = (carriers.first(headers, "samp") or "true").lower()
    return _context(trace, span or "0", word == "true", biz, sys)
