"""The quick half of the processes' tests; those that kill things are in tests/faults/test_processes.py."""

import socket

import pytest

from tests.unit.server.processes import eventually, lives, said, started


def test_serves_with_every_worker_and_stops_with_0(tmp_path):
    with started(tmp_path, workers=2) as served:
        served.wait_until_ready()
        workers = served.workers()

        assert len(workers) == 2
        assert {served.pid() for _ in range(10)} <= set(workers)
        assert served.stop() == 0
        assert served.process.stdout.read() == ""
        assert not any(lives(pid) for pid in workers)
        assert {path.name for path in served.data_dir.glob("closed-*")} == {f"closed-{pid}" for pid in workers}


def test_a_worker_that_cannot_start_ends_the_start(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fail").touch()

    with started(tmp_path, workers=2) as served:
        assert served.process.wait(15) == 3
        assert served.process.stdout.read() == ""

    assert "no store" in [line["event"] for line in said(tmp_path)]


def test_port_in_use_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(tmp_path, PORT=str(port)) as served:
            assert served.process.wait(15) == 1

    assert (tmp_path / "stderr").read_text() == (
        f"Port {port} on 127.0.0.1 is in use; stop the program that listens there, or set PORT to another one.\n"
    )


@pytest.mark.slow
def test_a_data_folder_has_one_supervisor(tmp_path):
    with started(tmp_path, workers=1) as first:
        first.wait_until_ready()
        (tmp_path / "second").mkdir()
        with started(tmp_path / "second", workers=1, DATA_DIR=str(first.data_dir)) as second:
            assert second.process.wait(15) == 1
        assert first.pid() in first.workers()

    reason = (tmp_path / "second" / "stderr").read_text()
    assert f"is used by another aiservice (process {first.process.pid})" in reason


def test_metrics_are_those_of_all_workers(tmp_path):
    with started(tmp_path, workers=2) as served:
        served.wait_until_ready()
        seen: set[int] = set()

        def ask() -> bool:
            seen.add(served.pid())
            counted.append(1)
            return len(seen) == 2

        counted: list[int] = []
        eventually(ask)

        line = f'aiservice_requests_total{{endpoint="/pid",status="200"}} {len(counted)}.0'
        assert line in served.get("/metrics").splitlines()
