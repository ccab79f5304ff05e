import hashlib

import pytest

from tests.unit.cli.commands import run
from tests.unit.cli.http_server import Reply, serving

GGUF = b"GGUF" + b"weights" * 1000
SHA256 = hashlib.sha256(GGUF).hexdigest()


def kept(data_dir) -> list[str]:
    models = data_dir / "models"
    return sorted(path.name for path in models.iterdir()) if models.exists() else []


def test_list_shows_every_engine_s_models(tmp_path):
    shown = run("models", "list", data_dir=tmp_path).stdout

    assert "fake/echo" in shown


@pytest.mark.parametrize("sha256", [(), ("--sha256", SHA256), ("--sha256", SHA256.upper())])
def test_a_file_is_copied_and_its_use_is_said(tmp_path, sha256):
    source = tmp_path / "small.gguf"
    source.write_bytes(GGUF)

    pulled = run("models", "pull", str(source), *sha256, data_dir=tmp_path / "data")

    target = tmp_path / "data" / "models" / "small.gguf"
    assert pulled.exit_code == 0
    assert target.read_bytes() == GGUF
    assert f"EMBEDDED_MODEL={target}" in pulled.stdout


def test_an_address_is_fetched_and_verified(tmp_path):
    with serving({"/m/big%20one.gguf?x=1": Reply(GGUF)}) as (url, _):
        pulled = run("models", "pull", f"{url}/m/big%20one.gguf?x=1", "--sha256", SHA256, data_dir=tmp_path)

    assert pulled.exit_code == 0
    assert kept(tmp_path) == ["big one.gguf"]


@pytest.mark.parametrize(
    ("reply", "arguments", "said"),
    [
        (Reply(GGUF), (), "needs --sha256"),
        (Reply(GGUF), ("--sha256", "0" * 64), f"SHA-256 is {SHA256}"),
        (Reply(b"<html>"), ("--sha256", SHA256), "no GGUF file"),
        (Reply(b"gone", status=404), ("--sha256", SHA256), "cannot be fetched: Not Found"),
        (Reply(GGUF, length=len(GGUF) + 10), ("--sha256", SHA256), "cut off after"),
    ],
)
def test_what_is_not_the_file_leaves_nothing_behind(tmp_path, reply, arguments, said):
    with serving({"/m.gguf": reply}) as (url, _):
        pulled = run("models", "pull", f"{url}/m.gguf", *arguments, data_dir=tmp_path)

    assert pulled.exit_code == 1
    assert said in pulled.stderr
    assert "Traceback" not in pulled.stderr
    assert kept(tmp_path) == []


def test_a_wrong_file_does_not_replace_a_good_one(tmp_path):
    source = tmp_path / "small.gguf"
    source.write_bytes(GGUF)
    run("models", "pull", str(source), data_dir=tmp_path)
    source.write_bytes(GGUF + b"more")

    assert run("models", "pull", str(source), "--sha256", SHA256, data_dir=tmp_path).exit_code == 1
    assert (tmp_path / "models" / "small.gguf").read_bytes() == GGUF


def test_a_missing_file_is_one_line(tmp_path):
    pulled = run("models", "pull", str(tmp_path / "none.gguf"), data_dir=tmp_path)

    assert pulled.exit_code == 1
    assert "none.gguf cannot be fetched: No such file or directory." in pulled.stderr


def test_an_engine_that_is_not_there_is_named(tmp_path):
    pulled = run("models", "pull", "llama3.2:1b", "--engine", "nobody", data_dir=tmp_path)

    assert pulled.exit_code == 1
    assert "There is no engine 'nobody'." in pulled.stderr


def test_a_model_is_fetched_through_ollama(tmp_path):
    steps = b'{"status":"pulling","completed":5,"total":10}\n{"status":"success"}\n'
    tags = Reply(b'{"models":[]}')
    with serving({"/api/tags": tags, "/api/ps": tags, "/api/pull": Reply(steps)}) as (url, asked):
        pulled = run("models", "pull", "llama3.2:1b", data_dir=tmp_path, OLLAMA_URL=url)

    assert pulled.exit_code == 0
    assert [request.path for request in asked][-1] == "/api/pull"
    assert b"llama3.2:1b" in asked[-1].body
    assert "llama3.2:1b is there" in pulled.stdout


def test_an_ollama_that_is_down_is_said_with_what_to_do(tmp_path):
    pulled = run("models", "pull", "llama3.2:1b", data_dir=tmp_path, OLLAMA_URL="http://127.0.0.1:9")

    assert pulled.exit_code == 1
    assert "does not answer; start it, or set OLLAMA_URL" in pulled.stderr
