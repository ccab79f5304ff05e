"""Where Redis is: the settings' addresses, read and checked."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from aiservice.core.errors import SettingInvalid
from aiservice.core.settings import Settings

Kind = Literal["single", "cluster", "sentinel"]

PORT = 6_379
SENTINEL_PORT = 26_379
TLS_PARAMETERS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"})
SENTINEL_PARAMETERS = frozenset({"sentinel_password", "sentinel_username"})


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One Redis: its server, some nodes of its cluster, or the sentinels that know its master.

    `database` is 0 in a cluster; `service` is the sentinels' name of the master. No secret is in its repr.
    """

    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    database: int = 0
    service: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    tls_parameters: Mapping[str, str | bool] = field(default_factory=dict)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def redis_addresses(settings: Settings) -> tuple[RedisAddress, RedisAddress] | None:
    """Where limits and events are and where the cache is; None without Redis. Raises `SettingInvalid`.

    The cache is by default in the next database of the same server; a cluster has one database for both.
    """
    stores = settings.stores
    if stores.redis_url is not None:
        limits = address_of(stores.redis_url)
    elif stores.redis_host is not None:
        _check_host("REDIS_HOST", stores.redis_host)
        limits = RedisAddress("single", ((stores.redis_host, stores.redis_port),), password=stores.redis_password)
    elif stores.redis_cache_url is not None:
        raise SettingInvalid("REDIS_CACHE_URL is for the cache of a service whose limits are in Redis: set REDIS_URL.")
    else:
        return None
    if stores.redis_cache_url is not None:
        return limits, address_of(stores.redis_cache_url, setting="REDIS_CACHE_URL")
    return limits, limits if limits.kind == "cluster" else replace(limits, database=limits.database + 1)


def address_of(url: str, *, setting: str = "REDIS_URL") -> RedisAddress:
    """Reads redis:// and rediss://, alone or with +cluster or +sentinel; raises `SettingInvalid`, naming `setting`."""
    try:
        parts = urlsplit(url)
        parameters = _parameters(setting, parts)
    except ValueError:
        # The text of the error may hold the password.
        raise SettingInvalid(f"{setting} cannot be read: write redis://USER:PASSWORD@HOST:PORT/DATABASE.") from None
    scheme, _, form = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss") or form not in ("", "cluster", "sentinel"):
        raise SettingInvalid(
            f"{setting} must begin with redis://, rediss://, redis+cluster:// or redis+sentinel:// (or rediss+...)."
        )
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    kind: Kind = "cluster" if form == "cluster" else "sentinel" if form == "sentinel" else "single"
    service, database = _path(setting, kind, parts.path)
    return RedisAddress(
        kind=kind,
        nodes=_nodes(setting, kind, hosts),
        database=database,
        service=service,
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=_tls(setting, parameters) if scheme == "rediss" else None,
        tls_parameters={
            name: value if name != "ssl_check_hostname" else value.lower() == "true"
            for name, value in parameters.items()
            if name in TLS_PARAMETERS
        },
        sentinel_username=parameters.get("sentinel_username"),
        sentinel_password=parameters.get("sentinel_password"),
    )


def _nodes(setting: str, kind: Kind, hosts: str) -> tuple[tuple[str, int], ...]:
    nodes = tuple(_node(setting, host, SENTINEL_PORT if kind == "sentinel" else PORT) for host in hosts.split(","))
    if kind == "single" and len(nodes) > 1:
        raise SettingInvalid(f"{setting} names several servers: begin it with redis+cluster:// or redis+sentinel://.")
    return nodes


def _node(setting: str, text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        # A password with a bare "/" or "@" may have come to stand here.
        raise SettingInvalid(
            f"{setting} has a HOST:PORT that cannot be read; other characters than letters and digits in a password "
            "are written with a percent sign."
        ) from None
    _check_host(setting, host or "")
    return host or "", port or default_port


def _check_host(setting: str, host: str) -> None:
    """What the resolver would choke on is said now."""
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise SettingInvalid(f"{setting} has a host name that is none.") from error
    if not host:
        raise SettingInvalid(f"{setting} names no host: write redis://HOST:PORT/DATABASE.")


def _path(setting: str, kind: Kind, path: str) -> tuple[str | None, int]:
    """Sentinel's service, and the database."""
    pieces = [unquote(piece) for piece in path.split("/") if piece]
    service = pieces.pop(0) if kind == "sentinel" and pieces else None
    if kind == "sentinel" and service is None:
        raise SettingInvalid(f"{setting} lacks the sentinels' service: write redis+sentinel://HOST:PORT/SERVICE.")
    if len(pieces) > 1 or (pieces and not (pieces[0].isascii() and pieces[0].isdigit())):
        raise SettingInvalid(f"{setting} must end in the database's number or nothing.")
    database = int(pieces[0]) if pieces else 0
    if kind == "cluster" and database != 0:
        raise SettingInvalid(f"{setting} names database {database}, but a Redis Cluster has database 0 alone.")
    return service, database


def _parameters(setting: str, parts: SplitResult) -> Mapping[str, str]:
    given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    accepted: frozenset[str] = frozenset()
    if parts.scheme.startswith("rediss"):
        accepted |= TLS_PARAMETERS
    if parts.scheme.endswith("+sentinel"):
        accepted |= SENTINEL_PARAMETERS
    if unknown := sorted(given.keys() - accepted):
        words = f"takes {', '.join(sorted(accepted))}" if accepted else "takes no parameters; TLS begins with rediss://"
        raise SettingInvalid(f"{setting} has the parameter {unknown[0]}, but its form {words}.")
    return given


def _tls(setting: str, parameters: Mapping[str, str]) -> ssl.SSLContext:
    checks_hostname = parameters.get("ssl_check_hostname", "true").lower()
    if checks_hostname not in ("true", "false"):
        raise SettingInvalid(f"{setting}: ssl_check_hostname is true or false.")
    certificate, key = parameters.get("ssl_certfile"), parameters.get("ssl_keyfile")
    if key is not None and certificate is None:
        raise SettingInvalid(f"{setting}: ssl_keyfile needs ssl_certfile.")
    try:
        context = ssl.create_default_context(cafile=parameters.get("ssl_ca_certs"))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise SettingInvalid(f"{setting}: the TLS files cannot be read: {error}.") from error
    context.check_hostname = checks_hostname == "true"
    return context
