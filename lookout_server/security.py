"""Who may do what: tenants, bearer tokens and their rights."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .http import Refused
from .server import Right

RIGHTS = ("read", "write", "admin")
DEFAULT_TENANT = "default"
TENANT_HEADER = "x-scope-orgid"
#: Where SOFALookout's clients put their token.
TOKEN_HEADER = "x-lookout-token"

_TENANT_NAME = re.compile(r"[A-Za-z0-9!_.*'()-]{1,150}")
_NO_TENANT = "this collector keeps tenants apart: name one in the header X-Scope-OrgID"
_OPEN = re.compile(
    r"/(-/.*|ui/.*|openapi\.json|favicon\.ico|config\.json|version|(actuator/)?(health|info)"
    r"|zipkin(/(?!api/).*)?)?"
)
#: Open to whoever may read at all, whatever the tenant.
_NO_TENANT_NEEDED = re.compile(r"/metrics")
_ADMIN = re.compile(r"/api/v1/(admin|status/config)\b.*|/cmd/.*")
#: POST is reading here: long queries do not fit a URL.
_READING_POST = re.compile(
    r"/(prometheus/)?api/v1/(query|query_range|query_exemplars|labels|series|format_query|parse_query|read)"
)

#: Stands in examples everywhere.
_HASH_OF_TEST = hashlib.sha256(b"test").hexdigest()


class TokensInvalid(Exception):
    """The tokens file is not what it should be; the text says where."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, by its SHA-256: the token itself is not kept."""

    name: str
    digest: bytes
    tenants: frozenset[str] | None  # None: all
    rights: frozenset[str]

    def allows(self, tenant: str | None, right: Right) -> bool:
        """Whether its holder may do this for the tenant (None: no tenant's data involved)."""
        known = tenant is None or self.tenants is None or tenant in self.tenants
        return known and right in self.rights


def load_tokens(path: Path) -> list[Token]:
    """Tokens of a TOML file of ``[[token]]`` tables: name, token or sha256, tenants, rights.

    Raises TokensInvalid.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise TokensInvalid(f"cannot read the tokens file {path}: {why}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TokensInvalid(f"the tokens file {path} is no TOML: {error}") from error
    tables = document.get("token")
    if not isinstance(tables, list) or not tables:
        raise TokensInvalid(f"{path} has no [[token]] table")
    return [_token(f"{path}: token {number}", table) for number, table in enumerate(tables, 1)]


def _token(where: str, table: Mapping[str, Any]) -> Token:
    rights = frozenset(table.get("rights", ()))
    if not rights or not rights <= set(RIGHTS):
        raise TokensInvalid(f"{where}: rights must be some of {', '.join(RIGHTS)}")
    tenants = table.get("tenants", [DEFAULT_TENANT])
    if not isinstance(tenants, list) or not all(isinstance(name, str) for name in tenants):
        raise TokensInvalid(f'{where}: tenants must be a list of names, or ["*"]')
    name = str(table.get("name", where))
    return Token(
        name, _digest(where, table), None if "*" in tenants else frozenset(tenants), rights
    )


def _digest(where: str, table: Mapping[str, Any]) -> bytes:
    match table:
        case {"token": str(secret)} if len(secret) >= 16:
            return hashlib.sha256(secret.encode()).digest()
        case {"token": _}:
            raise TokensInvalid(f"{where}: a token needs at least 16 characters")
        case {"sha256": str(digest)} if digest == _HASH_OF_TEST:
            raise TokensInvalid(f"{where}: its sha256 is that of the word test, which all know")
        case {"sha256": str(digest)} if re.fullmatch(r"[0-9a-f]{64}", digest):
            return bytes.fromhex(digest)
    raise TokensInvalid(f"{where}: either token or sha256 (64 lower-case hex digits) is needed")


class Gate:
    """Finds the tenant of a request and refuses what its token does not allow."""

    def __init__(self, multitenancy: bool, tokens: Sequence[Token] | None) -> None:
        self._multitenancy = multitenancy
        self._tokens = tokens

    def authorize(self, headers: Mapping[str, str], right: Right) -> str:
        """The tenant. Raises Refused (400 its name, 401 no tenant or token, 403 no right)."""
        token = self._authenticated(headers)
        tenant = tenant_of(headers) if self._multitenancy else DEFAULT_TENANT
        _check(token, tenant, right)
        return tenant

    def authorize_without_tenant(self, headers: Mapping[str, str], right: Right) -> None:
        """The same for what is no tenant's."""
        _check(self._authenticated(headers), None, right)

    def _authenticated(self, headers: Mapping[str, str]) -> Token | None:
        """The token presented; None where none is needed."""
        if self._tokens is None:
            return None
        presented = headers.get(TOKEN_HEADER) or _presented(headers.get("authorization", ""))
        digest = hashlib.sha256(presented.encode()).digest()
        for token in self._tokens:
            if presented and hmac.compare_digest(token.digest, digest):
                return token
        raise Refused(401, "a valid token is needed: Authorization: Bearer TOKEN")


def _check(token: Token | None, tenant: str | None, right: Right) -> None:
    if token is not None and not token.allows(tenant, right):
        where = f" for tenant {tenant}" if tenant else ""
        raise Refused(403, f"the token {token.name!r} has no right to {right}{where}")


class Security:
    """ASGI middleware around a :class:`Gate`."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._admit(scope)
            except Refused as refused:
                await refused.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        path, method = scope["path"], scope["method"]
        if _OPEN.fullmatch(path) or method == "OPTIONS":
            return
        headers, right = Headers(scope=scope), right_for(method, path)
        if _NO_TENANT_NEEDED.fullmatch(path) and right == "read":
            self._gate.authorize_without_tenant(headers, right)
        else:
            scope.setdefault("state", {})["tenant"] = self._gate.authorize(headers, right)


def right_for(method: str, path: str) -> Right:
    """What a request does: reading, writing, or administration."""
    if _ADMIN.fullmatch(path):
        return "admin"
    if method in ("GET", "HEAD") or (method == "POST" and _READING_POST.fullmatch(path)):
        return "read"
    return "write"


def tenant_of(headers: Mapping[str, str]) -> str:
    """The tenant named by the request. Raises Refused (401 none, 400 no valid name)."""
    tenant = headers.get(TENANT_HEADER)
    if not tenant:
        raise Refused(401, _NO_TENANT)
    if not _TENANT_NAME.fullmatch(tenant):
        raise Refused(400, "X-Scope-OrgID must be 1-150 characters of letters, digits and !_.*'()-")
    return tenant


def _presented(authorization: str) -> str:
    """The token of a Bearer header, or of Basic: the password, or the user where that is empty.

    Browsers and ``lookout:TOKEN`` send the password, SOFALookout's other pushes the user alone.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            return password or user
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
