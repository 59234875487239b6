"""IP addresses as Zipkin reads and writes them."""

from __future__ import annotations

import ipaddress
import re

_ADDRESS = re.compile(r"[0-9a-fA-F:.]+")
# Leading zeros pass, and stay: senders of them search for what they sent.
_DOTTED = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|[01][0-9]{2}|[0-9]{1,2})(?:\.(?!$)|$)){4}")
_EMBEDDED = re.compile(r"::(?:[fF0]{4}:)?([0-9.]+)")


def parse_ip(text: str) -> tuple[str, str]:
    """(IPv4, IPv6) in canonical text, one of them or both empty.

    An IPv4 address written as IPv6 (``::ffff:1.2.3.4``, ``::1.2.3.4``) is IPv4.
    """
    if not _ADDRESS.fullmatch(text):
        return "", ""
    if "." in text:
        embedded = _EMBEDDED.fullmatch(text)
        dotted = embedded.group(1) if embedded else text
        return (dotted, "") if _DOTTED.fullmatch(dotted) else ("", "")
    return "", _parse_ipv6(text)


def format_ip(packed: bytes) -> tuple[str, str]:
    """(IPv4, IPv6) of 4 or 16 bytes in network order; other lengths are no address."""
    if len(packed) == 4:
        return str(ipaddress.IPv4Address(packed)), ""
    if len(packed) != 16:
        return "", ""
    if packed[:12] == bytes(12) and packed[12:] != b"\0\0\0\1":  # IPv4-compatible, but not ::1
        return str(ipaddress.IPv4Address(packed[12:])), ""
    return "", _format_ipv6(packed)


def _parse_ipv6(text: str) -> str:
    try:
        return _format_ipv6(ipaddress.IPv6Address(text).packed)
    except ValueError:
        return ""


def _format_ipv6(packed: bytes) -> str:
    groups = [f"{int.from_bytes(packed[i : i + 2]):x}" for i in range(0, 16, 2)]
    start, length = _longest_zeros(groups)
    if length == 0:
        return ":".join(groups)
    return ":".join(groups[:start]) + "::" + ":".join(groups[start + length :])


def _longest_zeros(groups: list[str]) -> tuple[int, int]:
    """Start and length of the run of zero groups to be left out.

    As Zipkin has it: the first longest run, a single group too, and a run at the very end only
    when there is no other.
    """
    best = (0, 0)
    start = -1
    for i, group in enumerate(groups):
        if group == "0":
            start = i if start < 0 else start
            continue
        if start >= 0 and i - start > best[1]:
            best = (start, i - start)
        start = -1
    if best[1] == 0 and start >= 0:
        return start, len(groups) - start
    return best
