"""Tokens, rights and tenant names, without a server around them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from lookout_server.http import Refused
from lookout_server.limits import TenantLimits
from lookout_server.security import Gate, Token, TokensInvalid, load_tokens, right_for, tenant_of

SECRET = "0123456789abcdef"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!_.*'()-"


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/api/v2/traces", "read"),
        ("HEAD", "/api/v2/traces", "read"),
        ("POST", "/api/v1/query_range", "read"),
        ("POST", "/api/v1/read", "read"),
        ("POST", "/api/v1/write", "write"),
        ("POST", "/api/v2/spans", "write"),
        ("POST", "/v1/metrics", "write"),
        ("PUT", "/metrics/job/x", "write"),
        ("POST", "/api/v1/admin/tsdb/delete_series", "admin"),
        ("GET", "/api/v1/status/config", "admin"),
        ("GET", "/cmd/down", "admin"),
    ],
)
def test_rights(method: str, path: str, right: str) -> None:
    """Long queries are posted, and reading them is still reading."""
    assert right_for(method, path) == right


@given(st.text(ALPHABET, min_size=1, max_size=150))
def test_tenant_names(name: str) -> None:
    """All of the alphabet up to 150 characters is a name."""
    assert tenant_of(Headers({"X-Scope-OrgID": name})) == name


@given(st.text(st.characters(codec="latin-1"), max_size=160))
def test_other_names(name: str) -> None:
    """Anything else is refused, an absent or empty one as unauthenticated."""
    valid = 0 < len(name) <= 150 and set(name) <= set(ALPHABET)
    if not valid:
        with pytest.raises(Refused) as refused:
            tenant_of(Headers({"X-Scope-OrgID": name}))
        assert refused.value.status == (400 if name else 401)


def test_token_scope() -> None:
    """A token is for its tenants and its rights only; no tenant's data needs no tenant."""
    token = Token("t", b"", frozenset({"a"}), frozenset({"read"}))
    assert token.allows("a", "read") and token.allows(None, "read")
    assert not token.allows("b", "read") and not token.allows("a", "write")
    assert Token("t", b"", None, frozenset({"write"})).allows("anybody", "write")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {SECRET}"},
        {"x-lookout-token": SECRET},
        {"authorization": "Basic " + base64.b64encode(f"lookout:{SECRET}".encode()).decode()},
        {"authorization": "Basic " + base64.b64encode(SECRET.encode()).decode()},
    ],
)
def test_c10_ways_to_present_a_token(headers: dict[str, str]) -> None:
    """As a bearer, in SOFALookout's header, and as either part of Basic; no other."""
    digest = hashlib.sha256(SECRET.encode()).digest()
    gate = Gate(False, [Token("t", digest, None, frozenset({"write"}))])
    assert gate.authorize(headers, "write") == "default"
    with pytest.raises(Refused) as refused:
        gate.authorize({"x-lookout-token": "another"}, "write")
    assert refused.value.status == 401


def test_tokens_file(tmp_path: Path) -> None:
    """A token in the clear and its hash are the same."""
    secret = "0123456789abcdef"
    file = tmp_path / "tokens.toml"
    digest = hashlib.sha256(secret.encode())
    file.write_text(
        f"[[token]]\ntoken = '{secret}'\nrights = ['read']\n"
        f"[[token]]\nname = 'b'\nsha256 = '{digest.hexdigest()}'\ntenants = ['*']\n"
        "rights = ['write', 'admin']\n"
    )
    first, second = load_tokens(file)
    assert first.digest == second.digest == digest.digest()
    assert (first.tenants, second.tenants) == (frozenset({"default"}), None)
    assert secret not in repr(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no [[token]] table"),
        ("[[token]", "is no TOML"),
        (
            "[[token]]\ntoken='0123456789abcdef'\nrights=['drink']",
            "token 1: rights must be some of",
        ),
        ("[[token]]\ntoken='short'\nrights=['read']", "at least 16 characters"),
        ("[[token]]\nrights=['read']", "either token or sha256"),
        ("[[token]]\nsha256='AB'\nrights=['read']", "either token or sha256"),
        ("[[token]]\nsha256='64 hex digits'\nrights=['read']", "either token or sha256"),
        (
            f"[[token]]\nsha256='{hashlib.sha256(b'test').hexdigest()}'\nrights=['read']",
            "that of the word test",
        ),
        ("[[token]]\ntoken='0123456789abcdef'\ntenants='a'\nrights=['read']", "tenants must be"),
    ],
)
def test_mistakes_in_the_tokens_file(text: str, message: str, tmp_path: Path) -> None:
    """Each says where it is and what was expected, and not the token."""
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(TokensInvalid) as error:
        load_tokens(file)
    assert message in str(error.value)
    assert "0123456789abcdef" not in str(error.value)


def test_tenant_rate() -> None:
    """Two seconds' worth may come at once; then the rate holds, for each tenant by itself."""
    now = 0.0
    limits = TenantLimits(10, 100, lambda: now)
    assert limits.refusal("a", 250) is None
    refusal = limits.refusal("a", 1)
    assert refusal is not None and refusal.reason == "tenant_rate"
    assert refusal.retry_after == pytest.approx(0.5)
    assert limits.refusal("b", 1) is None
    now = 0.6
    assert limits.refusal("a", 1) is None


def test_number_of_tenants() -> None:
    """Known tenants go on when there is no room for another."""
    limits = TenantLimits(2, 0)
    assert [limits.refusal(name, 1) for name in ("a", "b", "a")] == [None, None, None]
    refusal = limits.refusal("c", 1)
    assert refusal is not None and refusal.reason == "max_tenants"
