"""What the supervisor promises when processes are killed, told to stop, or left alone."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import RemoteDisconnected
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.unit.server.processes import ENGINE, ROOT, eventually, lives, said, started

pytestmark = pytest.mark.faults


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_is_replaced_and_its_counts_stay(tmp_path):
    with started(tmp_path, workers=2) as served:
        served.wait_until_ready()
        first = served.pid()
        kill(first)

        eventually(lambda: len(served.workers()) == 2 and first not in served.workers(), within_s=5)
        assert all(served.pid() in served.workers() for _ in range(10))
        lines = served.get("/metrics").splitlines()
        assert 'aiservice_requests_total{endpoint="/pid",status="200"} 11.0' in lines
        assert "aiservice_worker_restarts_total 1.0" in lines
        assert served.stop() == 0


def test_workers_killed_together_are_all_replaced(tmp_path):
    with started(tmp_path, workers=3) as served:
        served.wait_until_ready()
        before = set(served.workers())
        for pid in before:
            kill(pid)

        eventually(lambda: len(served.workers()) == 3 and not before & set(served.workers()), within_s=5)
        assert served.pid() in served.workers()


def test_deaths_in_a_row_are_answered_with_pauses_that_are_said(tmp_path):
    with started(tmp_path, workers=1) as served:
        served.wait_until_ready()
        for _ in range(5):
            worker = served.pid()
            with pytest.raises((RemoteDisconnected, URLError, ConnectionError)):
                served.get("/crash")
            eventually(lambda dead=worker: not lives(dead))
        served.pid()

    pauses = [line["restart_in_s"] for line in said(tmp_path) if line["event"] == "a worker died and is replaced"]
    assert pauses == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_deaths_spread_over_the_workers_bring_no_pause(tmp_path):
    with started(tmp_path, workers=3) as served:
        served.wait_until_ready()
        for _ in range(4):
            before = set(served.workers())
            for pid in before:
                kill(pid)
            eventually(lambda dead=before: len(served.workers()) == 3 and not dead & set(served.workers()), within_s=5)

    pauses = [line["restart_in_s"] for line in said(tmp_path) if line["event"] == "a worker died and is replaced"]
    assert pauses == [0.0] * 12


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_answer_ends_before_the_stop(tmp_path, number):
    with started(tmp_path, workers=2, engine=ENGINE) as served:
        served.wait_until_ready()
        children = served.children()
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(served.get("/slow?0.5")))
        asking.start()
        eventually((served.data_dir / "slow-began").exists)
        # As a terminal does with Ctrl-C: the whole group gets it.
        os.killpg(served.process.pid, number) if number == signal.SIGINT else served.process.send_signal(number)

        assert served.process.wait(10) == 0
        asking.join(5)
        assert len(answers) == 1
        assert len(children) == 3
        assert not any(lives(pid) for pid in children)


def test_a_second_signal_ends_an_answer_that_does_not_end(tmp_path):
    with started(tmp_path, workers=1) as served:
        served.wait_until_ready()
        cut: list[str] = []

        def ask() -> None:
            try:
                served.get("/slow?60")
            except (RemoteDisconnected, URLError, ConnectionError) as error:
                cut.append(type(error).__name__)

        asking = threading.Thread(target=ask)
        asking.start()
        eventually((served.data_dir / "slow-began").exists)
        worker = served.workers()[0]
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert served.process.poll() is None
        began_s = time.monotonic()

        assert served.stop() == 0
        assert time.monotonic() - began_s < 5
        assert (served.data_dir / f"closed-{worker}").exists()
        asking.join(5)
        assert len(cut) == 1


def test_no_process_outlives_a_killed_supervisor(tmp_path):
    with started(tmp_path, workers=2, engine=ORPHAN_PROOF) as served:
        served.wait_until_ready()
        eventually(lambda: len(served.engine_pids()) == 1)
        children = served.children()
        assert len(children) == 3
        kill(served.process.pid)

        eventually(lambda: not any(lives(pid) for pid in children), within_s=5)


def test_a_killed_supervisor_can_be_started_again_at_once(tmp_path):
    with started(tmp_path, workers=2) as first:
        first.wait_until_ready()
        kill(first.process.pid)
        port = first.url.rpartition(":")[2]
        with started(tmp_path, workers=2, PORT=port) as second:
            second.wait_until_ready()
            assert second.pid() in second.workers()


def test_a_killed_engine_is_started_again(tmp_path):
    with started(tmp_path, workers=1, engine=ENGINE) as served:
        served.wait_until_ready()
        eventually(lambda: len(served.engine_pids()) == 1)
        kill(served.engine_pids()[0])

        eventually(lambda: len(served.engine_pids()) == 2, within_s=5)
        engine = served.engine_pids()[-1]
        assert lives(engine)
        assert served.stop() == 0
        assert not lives(engine)

    assert [line["status"] for line in said(tmp_path) if "embedded engine ended" in line["event"]] == [-9]


@pytest.mark.real
def test_the_real_engine_answers_on_its_socket_and_after_a_kill(tmp_path):
    with started(tmp_path, workers=1, EMBEDDED_MODEL="smollm2", EMBEDDED_CONTEXT="512", EMBEDDED_SLOTS="1") as served:
        served.wait_until_ready()
        path = served.data_dir / "run" / "llamacpp.sock"
        embed_path = path.with_name("embed.sock")
        engine = _healthy(served, path)
        assert _healthy(served, embed_path) == engine
        assert path.parent.stat().st_mode & 0o077 == 0
        kill(engine)

        eventually(lambda: not lives(engine))
        again = _healthy(served, path)
        assert again != engine
        assert _healthy(served, embed_path) == again
        assert served.stop() == 0
        assert not path.exists()
        assert not embed_path.exists()


@pytest.mark.real
def test_an_embedding_model_that_cannot_be_served_is_said_and_chat_goes_on(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and no more")
    environ = {"EMBEDDED_MODEL": "smollm2", "EMBEDDED_CONTEXT": "512"}
    with started(tmp_path, workers=1, EMBEDDED_EMBEDDING_MODEL=str(tmp_path / "broken.gguf"), **environ) as served:
        served.wait_until_ready()
        _healthy(served, served.data_dir / "run" / "llamacpp.sock")
        log = served.data_dir / "log" / "llamacpp.log"
        eventually(lambda: "no embeddings" in log.read_text())
        assert "broken.gguf cannot be served" in log.read_text()
        assert _asked(served.data_dir / "run" / "llamacpp.sock")
        assert served.stop() == 0


@pytest.mark.real
def test_a_killed_engine_takes_the_model_s_writer_along(tmp_path):
    with started(tmp_path, workers=1, EMBEDDED_MODEL="smollm2", EMBEDDED_CONTEXT="512") as served:
        served.wait_until_ready()
        (served.data_dir / "models").mkdir()
        # A pipe that nobody reads holds the writer up in the middle.
        part = served.data_dir / "models" / "all-minilm-l6-v2.gguf.part"
        os.mkfifo(part)
        engine = _healthy(served, served.data_dir / "run" / "llamacpp.sock")
        eventually(lambda: len(_children(engine)) == 1)
        (writer,) = _children(engine)
        part.unlink()
        kill(engine)

        eventually(lambda: not lives(writer), within_s=5)
        eventually((served.data_dir / "models" / "all-minilm-l6-v2.gguf").exists, within_s=30)
        assert served.stop() == 0


@pytest.mark.real
def test_a_deep_data_folder_gets_a_short_socket(tmp_path):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    environ = {"EMBEDDED_MODEL": "smollm2", "EMBEDDED_EMBEDDING_MODEL": "off", "EMBEDDED_CONTEXT": "512"}
    with started(tmp_path, workers=1, DATA_DIR=str(deep), **environ) as served:
        served.data_dir = deep
        served.wait_until_ready()
        pointer = deep / "run" / "llamacpp.path"
        path = Path(pointer.read_text())
        assert len(str(path)) <= 100
        _healthy(served, path)
        assert served.stop() == 0
        assert not path.parent.exists()
        assert not pointer.exists()


def _healthy(served, path) -> int:
    """Waits until the engine's model is loaded; gives the engine's process id."""
    eventually(lambda: b"200 OK" in _asked(path), within_s=30)
    found = [pid for pid in served.children() if b"embedded" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1
    return found[0]


def _children(pid) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _asked(path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return client.recv(200)
        except OSError:
            return b""


ORPHAN_PROOF = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from aiservice.core.lifeline import die_with
die_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(3600)
"""


def test_a_child_whose_parent_is_gone_already_ends_itself():
    """The parent named is not the parent: as if it had died before the kernel was asked."""
    code = "import os; from aiservice.core.lifeline import die_with; die_with(os.getpid()); print('on')"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=10)

    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == ""
