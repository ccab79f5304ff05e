"""The listening socket that all workers inherit."""

import errno
import socket

from aiservice.core.errors import PortInUse, SettingInvalid, StartRefused

BACKLOG = 2_048


def bind(host: str, port: int) -> socket.socket:
    """Listens on an address; port 0 takes a free one. Connections wait in the backlog until a worker serves.

    Raises `PortInUse`, or `SettingInvalid` when HOST is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise SettingInvalid(f"HOST is {host!r}; it takes an address or a name of this machine.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _refusal(error, host, port) from error
    return listener


def url_of(host: str, listener: socket.socket) -> str:
    """`http://HOST:PORT` with the port that was really bound."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _refusal(error: OSError, host: str, port: int) -> StartRefused:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"Port {port} on {host} is in use; stop the program that listens there, or set PORT to another one."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return SettingInvalid(f"HOST is {host!r}; it takes an address of this machine.")
    if error.errno == errno.EACCES:
        return StartRefused(f"Port {port} needs more rights than this user has; set PORT to one from 1024 on.")
    return StartRefused(f"Port {port} on {host} cannot be bound: {error.strerror}.")
