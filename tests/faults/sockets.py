"""Which process has which end of a TCP connection on this machine, as the kernel tells it under /proc."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path


def accepted_by(pids: Iterable[int], port: int) -> dict[int, int]:
    """The process that has accepted each connection to `port`, by the port it came from."""
    return _owners(pids, {inode: theirs for ours, theirs, inode in _connections() if ours == port})


def connected_by(pids: Iterable[int], port: int) -> dict[int, int]:
    """The process that has opened each connection to `port`, by the port it comes from."""
    return _owners(pids, {inode: ours for ours, theirs, inode in _connections() if theirs == port})


async def all_accepted(pids: list[int], port: int, client_ports: set[int]) -> dict[int, int]:
    """The same, once all of the clients' connections were taken out of the queue."""
    async with asyncio.timeout(10):
        while not client_ports <= (owners := accepted_by(pids, port)).keys():
            await asyncio.sleep(0.01)
    return {client_port: owners[client_port] for client_port in client_ports}


def _owners(pids: Iterable[int], sockets: dict[str, int]) -> dict[int, int]:
    owners = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:[") and (port := sockets.get(target[8:-1])) is not None:
                owners[port] = pid
    return owners


def _connections() -> Iterator[tuple[int, int, str]]:
    """Local port, remote port and inode of every TCP socket over IPv4."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        yield _port(local), _port(remote), inode


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
