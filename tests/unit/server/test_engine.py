import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import SettingInvalid
from aiservice.core.settings import load
from aiservice.engines.llamacpp import socket_path
from aiservice.server.engine import engine_child


def settings_for(data_dir: Path, **environ: str):
    return load({"ENVIRONMENT": "test", "DATA_DIR": str(data_dir), **environ})


def test_off_starts_nothing(tmp_path):
    with engine_child(settings_for(tmp_path, EMBEDDED_MODEL="off"), ManualClock()) as child:
        assert child is None


def test_a_file_that_is_not_there_refuses_the_start(tmp_path):
    settings = settings_for(tmp_path, EMBEDDED_MODEL=str(tmp_path / "none.gguf"))

    with pytest.raises(SettingInvalid, match=r"EMBEDDED_MODEL is .*none\.gguf"), engine_child(settings, ManualClock()):
        pass


def test_an_embedding_model_that_is_not_there_refuses_the_start(tmp_path):
    settings = settings_for(tmp_path, EMBEDDED_EMBEDDING_MODEL=str(tmp_path / "none.gguf"))
    refused = pytest.raises(SettingInvalid, match=r"EMBEDDED_EMBEDDING_MODEL is .*none\.gguf")

    with refused, engine_child(settings, ManualClock()):
        pass


def test_the_child_is_told_what_makes_embeddings(tmp_path):
    (tmp_path / "run").mkdir()
    file = tmp_path / "mine.gguf"
    file.touch()

    def options(setting: str) -> dict[str, str]:
        with engine_child(settings_for(tmp_path, EMBEDDED_EMBEDDING_MODEL=setting), ManualClock()) as child:
            assert child is not None
            pairs = [option.removeprefix("--").split("=", 1) for option in child.command if "--embedding" in option]
            return {name.removeprefix("embedding-"): value for name, value in pairs}

    assert options("off") == {}
    own = options("minilm")
    assert own.pop("source").endswith("model")
    assert own == {
        "model": str(tmp_path / "models" / "all-minilm-l6-v2.gguf"),
        "name": "all-minilm:l6-v2",
        "socket": str(tmp_path / "run" / "embed.sock"),
        "context": "512",
    }
    assert options(str(file)) == {
        "model": str(file),
        "name": "mine",
        "socket": str(tmp_path / "run" / "embed.sock"),
        "context": "2048",
    }


def test_a_long_data_folder_gets_a_short_socket_for_as_long_as_it_runs(tmp_path):
    data_dir = tmp_path / ("d" * 100)
    (data_dir / "run").mkdir(parents=True)
    model = tmp_path / "model.gguf"
    model.touch()
    assert find_spec("xllamacpp") is not None

    with engine_child(settings_for(data_dir, EMBEDDED_MODEL=str(model)), ManualClock()) as child:
        assert child is not None
        path = socket_path(data_dir)
        assert len(os.fsencode(path)) <= 100
        assert path.suffix == ".sock"
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
    assert socket_path(data_dir) == data_dir / "run" / "llamacpp.sock"


def test_a_child_that_ends_is_started_again_after_its_pause(tmp_path):
    settings = settings_for(tmp_path)
    (tmp_path / "run").mkdir()
    clock = ManualClock()
    command = [sys.executable, "-S", "-c", "print('x')"]
    log = tmp_path / "log" / "llamacpp.log"

    with engine_child(settings, clock, command=command) as child:
        assert child is not None
        child.start()
        for count in range(2, 6):
            while child.start_at_s is None and log.read_text().count("x") < count:
                child.tend()
            assert log.read_text().count("x") <= count
        while child.start_at_s is None:
            child.tend()
        assert child.start_at_s == clock.monotonic_s() + 1
        count = log.read_text().count("x")
        child.tend()
        assert child.start_at_s is not None
        clock.advance_s(1)
        child.tend()
        assert child.start_at_s is None
        child.stop()
    assert count == 5
