"""Who is asking: the key in the headers, the admin key, or in development this very machine."""

import ipaddress
from collections.abc import Sequence

from aiservice.api.asgi import Scope, peer_of
from aiservice.core.errors import KeyRefused, KeysConflict, NotAllowed
from aiservice.core.settings import Settings
from aiservice.keys import LOCAL_CALLER, Caller, Keys
from aiservice.keys import Scope as KeyScope

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
_FORWARDING = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
_BEARER = b"bearer "

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Auth:
    """Turns a request's headers into its caller."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._keys = keys
        self._is_development = settings.is_development
        self._proxies = [ipaddress.ip_network(text, strict=False) for text in settings.server.trusted_proxies]

    async def caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        """The key's caller; raises `KeyRefused`, `KeysConflict`, `TooManyFailures` or `StoreUnavailable`."""
        text = _key_in(headers)
        if text is None:
            return self._local_caller(scope, headers)
        ip = self.source_ip(scope, headers)
        return self._keys.cached(text, ip=ip) or await self._keys.verify(text, ip=ip)

    async def admin(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        """The operator; raises `KeyRefused` without a good X-Admin-Key."""
        text = headers.get(b"x-admin-key")
        if text is None:
            raise KeyRefused("The admin key is missing or not valid. Send it in the X-Admin-Key header.")
        return await self._keys.verify_admin(text.decode("latin-1"), ip=self.source_ip(scope, headers))

    async def key_manager(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        """Who may handle keys: the operator, or a tenant's key with the scope keys:write."""
        if b"x-admin-key" in headers:
            return await self.admin(scope, headers)
        return require(await self.caller(scope, headers), "keys:write")

    async def usage_reader(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        """Who may read usage: a key with the scope usage:read."""
        return require(await self.caller(scope, headers), "usage:read")

    def source_ip(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """The address the request came from; X-Forwarded-For counts only from a trusted proxy, its last foreign hop."""
        peer = peer_of(scope)
        forwarded = headers.get(b"x-forwarded-for")
        if forwarded is None or not self._proxies or not _is_within(peer, self._proxies):
            return peer
        for hop in reversed([part.strip() for part in forwarded.decode("latin-1").split(",")]):
            if not _is_within(hop, self._proxies):
                return hop
        return peer

    def _local_caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        if self._is_development and _is_this_machine(scope, headers):
            return LOCAL_CALLER
        raise KeyRefused


def require(caller: Caller, needed: KeyScope) -> Caller:
    """The caller again; raises `NotAllowed` when the key lacks the scope."""
    if needed not in caller.scopes:
        raise NotAllowed(f"This key lacks the scope {needed}.")
    return caller


def _key_in(headers: dict[bytes, bytes]) -> str | None:
    if b"authorization" not in headers and b"api-key" not in headers:
        text = headers.get(b"x-api-key")
        return None if text is None else text.decode("latin-1")
    found = {value for name in (b"x-api-key", b"api-key") if (value := headers.get(name)) is not None}
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == _BEARER:
        found.add(authorization[7:].strip())
    if len(found) > 1:
        raise KeysConflict
    return found.pop().decode("latin-1") if found else None


def _is_this_machine(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """All that development asks of a request without a key, so that no web page can send one from a browser."""
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin")
    content_type = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    return (
        _is_loopback(peer_of(scope))
        and _host_name(host) in _LOOPBACK_NAMES
        and not any(name in headers for name in _FORWARDING)
        and (origin is None or origin.decode("latin-1") == f"{scope['scheme']}://{host}")
        and content_type == b"application/json"
    )


def _host_name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def _is_within(text: str, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)
