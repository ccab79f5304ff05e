"""Real Redis servers on loopback: one, a cluster of six, a master with replicas and sentinels. All calls block."""

import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import hiredis

from tests.servers.processes import Closing, Server, ServerFailed, ServerProcess, free_port, new_folder

START_S = 20.0
ANSWER_S = 5.0
PENDING = object()
# What a cluster needs on a loaded machine until every replica has its master's data.
JOIN_S = 60.0
NODES = 6
MASTERS = 3
NODE_TIMEOUT_MS = 2_000
DOWN_AFTER_MS = 1_000
SERVICE = "main"
QUIET = ("--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--loglevel", "notice")
# Every command is in the file before its answer goes out, so that it survives kill -9.
KEPT = ("--appendonly", "yes", "--appendfsync", "no")


@dataclass
class RedisServer(Server):
    """One server. What it holds is lost with its process, unless it was started with `is_kept`."""

    binary: Path
    port: int
    config: Sequence[str]
    folder: Path = field(default_factory=new_folder)
    _process: ServerProcess = field(init=False)

    @classmethod
    def start(cls, binary: Path, *config: str, port: int | None = None, is_kept: bool = False) -> Self:
        """`config` is as on the command line: `"--maxmemory", "10mb"`."""
        has_bus = "--cluster-enabled" in config
        wanted = (*QUIET, *(KEPT if is_kept else ()), *config)
        server = cls(binary, port or free_port(has_bus=has_bus), wanted)
        try:
            server.start_again()
        except BaseException:
            shutil.rmtree(server.folder)
            raise
        return server

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start_again(self) -> None:
        """On the same port; waits until it answers."""
        command = [str(self.binary), *self._file(), "--port", str(self.port), "--dir", str(self.folder), *self.config]
        self._process = ServerProcess(command, self.folder)
        try:
            until(self._answers, within_s=START_S)
        except BaseException:
            self._process.kill()
            raise

    def stop(self) -> None:
        self.thaw()
        self._process.stop(signal.SIGTERM)

    def restart(self, *, is_empty: bool = False) -> None:
        """Kills it where it still lives. `is_empty` removes what it kept; without `is_kept` there was nothing."""
        self.kill()
        if is_empty:
            for path in self.folder.glob("appendonly*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start_again()

    def call(self, *command: str | bytes | int) -> Any:
        """One command on a connection of its own, in database 0; raises `hiredis.ReplyError` or `OSError`."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_S) as connection:
            connection.sendall(hiredis.pack_command(command))
            reader = hiredis.Reader(encoding="utf-8", notEnoughData=PENDING)
            while (reply := reader.gets()) is PENDING:
                reader.feed(connection.recv(65_536) or _gone(self.port))
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def info(self, section: str) -> dict[str, str]:
        lines = str(self.call("info", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self) -> None:
        """Stops it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def _file(self) -> Sequence[str]:
        """A file of settings that the server writes itself: only sentinels have one."""
        return ()

    def _answers(self) -> bool:
        if not self._process.is_alive:
            raise ServerFailed(f"redis-server ended: {self._process.last_words()}")
        try:
            return bool(self.call("ping"))
        except (OSError, hiredis.ReplyError):  # the second while it loads what it kept
            return False


@dataclass
class Sentinel(RedisServer):
    """A sentinel; its file says what it watches."""

    def _file(self) -> Sequence[str]:
        return (str(self.folder / "sentinel.conf"), "--sentinel")


@dataclass
class RedisCluster(Closing):
    """Three masters with a replica each, on loopback. A node that fails is replaced after about `NODE_TIMEOUT_MS`."""

    nodes: list[RedisServer]

    @classmethod
    def start(cls, binary: Path) -> Self:
        """Returns when each replica has its master's data: a master killed before that is never replaced."""
        config = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        cluster = cls([])
        try:
            for _ in range(NODES):
                cluster.nodes.append(RedisServer.start(binary, *config))
            cluster._join()
        except BaseException:
            cluster.close()
            raise
        return cluster

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def flush(self) -> None:
        for node in self.nodes:
            if is_master(node):
                node.call("flushall")

    def master_of(self, key: str) -> RedisServer:
        """The living node that now answers for this key."""
        for node in self.nodes:
            if node.is_alive and is_master(node):
                return self._owner(node, int(node.call("cluster", "keyslot", key)))
        raise ServerFailed("no master is left")

    def healed(self) -> None:
        """Waits until all nodes live, each slot has a master and each replica its master's data."""
        for node in self.nodes:
            if not node.is_alive:
                node.start_again()
        until(self._is_joined, within_s=JOIN_S)

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _join(self) -> None:
        first, *others = self.nodes
        share = 16_384 // MASTERS
        for number, node in enumerate(self.nodes[:MASTERS]):
            last = 16_383 if number == MASTERS - 1 else (number + 1) * share - 1
            node.call("cluster", "addslots", *range(number * share, last + 1))
            node.call("cluster", "set-config-epoch", number + 1)
        for node in others:
            node.call("cluster", "meet", "127.0.0.1", first.port)
        until(lambda: all(len(_known(node)) == NODES for node in self.nodes), within_s=JOIN_S)
        for master, replica in zip(self.nodes[:MASTERS], self.nodes[MASTERS:], strict=True):
            until(_replicates(replica, str(master.call("cluster", "myid"))), within_s=JOIN_S)
        until(self._is_joined, within_s=JOIN_S)

    def _is_joined(self) -> bool:
        return sum(map(is_master, self.nodes)) == MASTERS and all(map(_is_well, self.nodes))

    def _owner(self, asked: RedisServer, slot: int) -> RedisServer:
        for first, last, master, *_ in asked.call("cluster", "slots"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise ServerFailed(f"slot {slot} has no master")


@dataclass
class RedisSentinel(Closing):
    """A master, two replicas and three sentinels; a lost master is replaced after about `DOWN_AFTER_MS`."""

    servers: list[RedisServer]
    sentinels: list[Sentinel]

    @classmethod
    def start(cls, binary: Path) -> Self:
        group = cls([], [])
        try:
            group._start(binary)
        except BaseException:
            group.close()
            raise
        return group

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{nodes}/{SERVICE}/0"

    def master(self) -> RedisServer:
        """Who the sentinels say it is."""
        _, port = self.sentinels[0].call("sentinel", "get-master-addr-by-name", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def healed(self) -> None:
        """Waits until all servers live and two of them are replicas with the master's data, as all sentinels see."""
        for server in (*self.servers, *self.sentinels):
            if not server.is_alive:
                server.start_again()
        until(self._is_whole, within_s=JOIN_S)

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.close()

    def _start(self, binary: Path) -> None:
        self.servers.append(master := RedisServer.start(binary))
        for _ in range(2):
            self.servers.append(RedisServer.start(binary, "--replicaof", "127.0.0.1", str(master.port)))
        for _ in range(3):
            sentinel = Sentinel(binary, free_port(), ("--bind", "127.0.0.1", "--daemonize", "no"))
            (sentinel.folder / "sentinel.conf").write_text(_watches(master.port))
            sentinel.start_again()
            self.sentinels.append(sentinel)
        until(self._is_whole, within_s=JOIN_S)

    def _is_whole(self) -> bool:
        return (
            int(self.master().info("replication")["connected_slaves"]) == len(self.servers) - 1
            and all(map(_is_fed, self.servers))
            and all(map(self._knows_all, self.sentinels))
        )

    def _knows_all(self, sentinel: Sentinel) -> bool:
        """Whether it knows the same master, both replicas and the other sentinels: else no vote comes about."""
        facts = sentinel.call("sentinel", "master", SERVICE)
        by_name = dict(zip(facts[::2], facts[1::2], strict=True))
        wanted = {
            "flags": "master",
            "port": str(self.master().port),
            "num-slaves": str(len(self.servers) - 1),
            "num-other-sentinels": str(len(self.sentinels) - 1),
        }
        return {name: by_name[name] for name in wanted} == wanted


def until(is_so: Callable[[], bool], *, within_s: float) -> None:
    """Blocks until it is so; raises `ServerFailed` after `within_s`."""
    end_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end_s:
            raise ServerFailed(f"waited {within_s} s in vain")
        time.sleep(0.01)


def _gone(port: int) -> bytes:
    raise ConnectionResetError(f"the Redis on {port} closed the connection")


def is_master(node: RedisServer) -> bool:
    return node.info("replication")["role"] == "master"


def _known(node: RedisServer) -> list[str]:
    """The nodes that this one has met, a line each."""
    return [line for line in str(node.call("cluster", "nodes")).splitlines() if "handshake" not in line]


def _replicates(replica: RedisServer, master_id: str) -> Callable[[], bool]:
    def does() -> bool:
        try:
            return bool(replica.call("cluster", "replicate", master_id))
        except hiredis.ReplyError:  # it has not heard of that node yet
            return False

    return does


def _is_fed(server: RedisServer) -> bool:
    """Whether it is a master or has its master's data."""
    facts = server.info("replication")
    return facts["role"] == "master" or (
        facts["master_link_status"] == "up" and facts["master_sync_in_progress"] == "0"
    )


def _is_well(node: RedisServer) -> bool:
    """Whether all is well as this node of a cluster sees it: it has its data, every slot is served, nobody failed."""
    return (
        _is_fed(node)
        and "cluster_state:ok" in str(node.call("cluster", "info"))
        and not any("fail" in line or "disconnected" in line for line in _known(node))
    )


def _watches(port: int) -> str:
    """What a sentinel's file says: two of three must agree that the master is down."""
    return (
        f"sentinel monitor {SERVICE} 127.0.0.1 {port} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} 5000\n"
    )
