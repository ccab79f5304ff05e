"""`aiservice run` as `make run` calls it, with the real model."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiservice.server.listener import bind
from tests.unit.cli.commands import run
from tests.unit.server.processes import eventually, lives

READY = re.compile(r"ready on http://127\.0\.0\.1:(\d+)\n")


@contextmanager
def running(data_dir: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    ours = {"ENVIRONMENT": "development", "DATA_DIR": str(data_dir), "PORT": "0", "WORKERS": "1", "OLLAMA_URL": ""}
    ours |= {"SQL_SANDBOXES": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "aiservice", "run"],
        env={"PATH": os.environ["PATH"], **ours, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def until_ready(process: subprocess.Popen[str]) -> str:
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if READY.fullmatch(line):
            break
    return "".join(lines)


def children(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [grandchild for child in found for grandchild in children(child)]


def test_outside_of_development_it_is_refused(tmp_path):
    refused = run("run", data_dir=tmp_path)

    assert refused.exit_code == 2
    assert "set ENVIRONMENT=development, or use `aiservice serve`" in refused.stderr


def test_a_taken_port_is_the_service_s_sentence_and_no_key_is_made(tmp_path):
    with bind("127.0.0.1", 0) as listener, running(tmp_path, PORT=str(listener.getsockname()[1])) as process:
        assert process.wait(15) == 2
        assert process.stdout.read() == ""

    assert not (tmp_path / "main.db").exists()


@pytest.mark.real
@pytest.mark.slow
def test_the_first_run_answers_and_shows_the_keys_and_later_runs_do_not(tmp_path):
    with running(tmp_path) as process:
        first = until_ready(process)
        # Beside the three the embedding model's writer may still be at work.
        # Supervisor, engine, worker, pool and sandbox.
        eventually(lambda: len(children(process.pid)) == 5)
        family = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(15) == 0
        assert process.stdout.read() == ""
    assert not any(lives(pid) for pid in family)
    assert re.search(r"Answer     \S", first)
    assert re.search(r"smollm2:135m \(llamacpp\), \d+ \+ \d+ tokens, \d+ tokens/s", first)
    key = re.search(r"API key    (vpn_[0-9A-Za-z_]{62})\n", first)[1]
    assert re.search(r"Admin key  vpnadm_[0-9A-Za-z_]{62}\n", first)
    assert f"-H 'X-API-Key: {key}'" in first

    with running(tmp_path) as process:
        began_s = time.monotonic()
        second = until_ready(process)
        took_s = time.monotonic() - began_s
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert "vpn_" not in second
    assert "curl -s http://127.0.0.1" in second
    assert took_s < 30  # ten times what it may take on a calm machine


@pytest.mark.real
@pytest.mark.slow
def test_without_a_model_it_says_so_and_serves(tmp_path):
    with running(tmp_path, EMBEDDED_MODEL="off") as process:
        shown = until_ready(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0

    assert "no engine has a model" in shown


@pytest.mark.faults
def test_nothing_outlives_a_killed_run(tmp_path):
    with running(tmp_path, EMBEDDED_MODEL="off") as process:
        until_ready(process)
        # Supervisor, worker, pool and sandbox.
        eventually(lambda: len(children(process.pid)) == 4)
        family = children(process.pid)
        process.kill()

        eventually(lambda: not any(lives(pid) for pid in family), within_s=5)
