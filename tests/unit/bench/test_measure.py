"""CPU, memory and start-up of a process tree."""

import os
import subprocess
import sys
import time
from pathlib import Path

import measure
import pytest

# Two burns of 0.2 s, less what the steps of a tick may hide; the start of three interpreters comes on top.
ENOUGH_S = 0.35
BURN = "import time\nwhile time.process_time() < {s}: pass\n"


def script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def launch(folder: Path, command: list[str], timeout_s: float = 10) -> measure.Launch:
    return measure.Launch(command, {"PATH": os.environ["PATH"]}, folder, "/", timeout_s)


def test_cpu_time_of_children_counts_living_and_gone(tmp_path: Path) -> None:
    (tmp_path / "burn.py").write_text(BURN.format(s=0.2))
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.run([sys.executable, {str(tmp_path / 'burn.py')!r}])\n"
        f"alive = subprocess.Popen([sys.executable, '-c', {BURN.format(s=0.2) + 'time.sleep(30)'!r}])\n"
        "time.sleep(30)\n"
    )
    with subprocess.Popen(script(tmp_path, parent), start_new_session=True) as process:
        deadline = time.monotonic() + 5
        while measure.cpu_s(process.pid) < ENOUGH_S and time.monotonic() < deadline:
            time.sleep(0.02)
        used_s, pids = measure.cpu_s(process.pid), measure.tree(process.pid)
        measure.Server(process, 0, 0).stop()
    assert used_s >= ENOUGH_S
    assert len(pids) == 2


def test_memory_of_a_tree_is_more_than_an_interpreter() -> None:
    assert 2_000_000 < measure.pss_bytes(os.getpid()) < 2_000_000_000


def test_a_process_that_is_gone_costs_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert measure.read_stat(process.pid) is None
    assert (measure.tree(process.pid), measure.cpu_s(process.pid)) == ({}, 0)


def test_start_waits_for_the_first_200(tmp_path: Path) -> None:
    port = measure.free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = measure.start(launch(tmp_path, command), port)
    assert measure.answers(port, "/")
    assert 0 < server.start_s < 10
    server.stop()
    assert not measure.answers(port, "/")


def test_a_target_that_ends_says_why(tmp_path: Path) -> None:
    command = script(tmp_path, "raise SystemExit('no licence')")
    with pytest.raises(measure.NotReady, match="no licence"):
        measure.start(launch(tmp_path, command), measure.free_port())


def test_a_target_that_stays_silent_is_stopped(tmp_path: Path) -> None:
    command = script(tmp_path, "import time\nprint('thinking', flush=True)\ntime.sleep(60)")
    with pytest.raises(measure.NotReady, match="thinking"):
        measure.start(launch(tmp_path, command, timeout_s=0.3), measure.free_port())
