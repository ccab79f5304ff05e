from pathlib import Path

import pytest

from aiservice.core.clock import SystemClock
from aiservice.core.errors import SettingInvalid
from aiservice.core.settings import load
from aiservice.engines import Price
from aiservice.engines.registry import CONSTRUCTORS, build, specs

DEVELOPMENT = {"ENVIRONMENT": "development", "EMBEDDED_MODEL": "off"}


def specs_of(**environ: str):
    return specs(load({**DEVELOPMENT, **environ}))


def test_by_default_there_is_the_embedded_engine_and_perhaps_ollama(tmp_path: Path):
    embedded, ollama = specs(load({"ENVIRONMENT": "development", "DATA_DIR": str(tmp_path)}))

    assert (embedded.name, embedded.kind, embedded.may_be_absent) == ("llamacpp", "llamacpp", False)
    assert embedded.url == f"unix:{tmp_path}/run/llamacpp.sock"
    assert (ollama.name, ollama.url, ollama.may_be_absent) == ("ollama", "http://127.0.0.1:11434", True)


def test_several_addresses_are_replicas():
    found = specs_of(OLLAMA_URL="http://a:1,http://b:2", OPENAI_BASE_URL="http://c/v1, https://d", OPENAI_API_KEY="k")

    assert [(spec.name, spec.group, spec.url) for spec in found] == [
        ("ollama", "ollama", "http://a:1"),
        ("ollama-2", "ollama", "http://b:2"),
        ("openai", "openai", "http://c/v1"),
        ("openai-2", "openai", "https://d"),
    ]
    assert [spec.api_key for spec in found] == [None, None, "k", "k"]
    assert not any(spec.may_be_absent for spec in found)
    assert "k'" not in repr(found[2])


def test_the_scripted_engine_is_there_in_tests_only():
    assert [spec.kind for spec in specs_of(OLLAMA_URL="", ENVIRONMENT="test")] == ["fake"]
    assert specs_of(OLLAMA_URL="") == []


@pytest.mark.parametrize("setting", ["OLLAMA_URL", "OPENAI_BASE_URL"])
def test_what_is_no_address_is_refused_without_showing_it(setting: str):
    with pytest.raises(SettingInvalid, match=f"{setting} .* place 2") as caught:
        specs_of(**{setting: "http://a,user:secret@b:80"})
    assert "secret" not in str(caught.value)


def test_an_embedded_model_that_is_not_there_is_refused():
    with pytest.raises(SettingInvalid, match="EMBEDDED_MODEL"):
        specs_of(EMBEDDED_MODEL="/none.gguf")


async def test_every_spec_can_be_built(tmp_path: Path):
    file = tmp_path / "engines.toml"
    file.write_text('[[engine]]\nname = "cloud"\nkind = "openai_compat"\nurl = "https://llm.example.com"\n')
    environ = {
        "ENVIRONMENT": "test",
        "DATA_DIR": str(tmp_path),
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
        "ENGINES_FILE": str(file),
    }

    registry = build(load(environ), SystemClock())

    assert list(registry.status()) == ["llamacpp", "openai", "fake", "cloud"]
    assert {spec.kind for spec in specs(load(environ))} == CONSTRUCTORS.keys()
    await registry.aclose()


FILE = """
[[engine]]
name = "cloud"
kind = "openai_compat"
url = "https://llm.example.com/v1"
api_key_file = "key.txt"
prices = { "m" = { prompt = 0.15, completion = 0.60 }, "free" = { prompt = 0, completion = 0 } }

[[engine]]
name = "rack-2"
kind = "ollama"
url = "http://10.0.0.2:11434"
api_key = "k"
"""


def test_the_engines_file(tmp_path: Path):
    (tmp_path / "engines.toml").write_text(FILE)
    (tmp_path / "key.txt").write_text("secret\n")

    cloud, rack = specs_of(OLLAMA_URL="", ENGINES_FILE=str(tmp_path / "engines.toml"))

    assert (cloud.name, cloud.kind, cloud.url) == ("cloud", "openai_compat", "https://llm.example.com/v1")
    assert (cloud.group, cloud.api_key) == ("cloud", "secret")
    assert cloud.prices == {"m": Price(150, 600), "free": Price(0, 0)}
    assert (rack.name, rack.kind, rack.api_key, rack.prices) == ("rack-2", "ollama", "k", {})


GOOD = {"name": '"cloud"', "kind": '"ollama"', "url": '"http://a"'}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": '"Cloud 1"'}, "engine 1: the field 'name' takes"),
        ({"name": "5"}, "the field 'name' takes text"),
        ({"name": None}, "the field 'name' is missing"),
        ({"name": '"ollama"'}, "the field 'name' is 'ollama', which another engine has"),
        ({"kind": '"llamacpp"'}, "the field 'kind' takes one of ollama, openai_compat"),
        ({"url": '"a:80"'}, "the field 'url' takes an address"),
        ({"weight": "1"}, "the field 'weight' is not known"),
        ({"api_key": '"a"', "api_key_file": '"b"'}, "the field 'api_key_file' excludes api_key"),
        ({"api_key_file": '"none.txt"'}, "the field 'api_key_file' is .* cannot be read"),
        ({"prices": "5"}, "the field 'prices' takes a table"),
        ({"prices": "{ m = { prompt = 1 } }"}, "the field 'prices' takes prompt and completion for 'm'"),
        ({"prices": "{ m = { prompt = -1, completion = 0 } }"}, "the field 'prices' takes numbers"),
        ({"prices": "{ m = { prompt = nan, completion = 0 } }"}, "the field 'prices' takes numbers"),
        ({"prices": "{ m = { prompt = true, completion = 0 } }"}, "the field 'prices' takes numbers"),
    ],
)
def test_a_wrong_row_is_named_by_file_row_and_field(tmp_path: Path, fields: dict[str, str | None], words: str):
    file = tmp_path / "engines.toml"
    lines = [f"{name} = {value}" for name, value in {**GOOD, **fields}.items() if value is not None]
    file.write_text("\n".join(["[[engine]]", *lines]))

    with pytest.raises(SettingInvalid, match=f"engines.toml.*{words}"):
        specs_of(ENGINES_FILE=str(file))


def test_two_rows_of_one_name(tmp_path: Path):
    file = tmp_path / "engines.toml"
    file.write_text("\n".join(["[[engine]]", *(f"{name} = {value}" for name, value in GOOD.items())] * 2))

    with pytest.raises(SettingInvalid, match="engine 2: the field 'name'"):
        specs_of(ENGINES_FILE=str(file))


@pytest.mark.parametrize("content", ["[[engine", "", "[engine]\nname = 'a'", "other = 1", "engine = [1]"])
def test_what_is_no_engines_file(tmp_path: Path, content: str):
    file = tmp_path / "engines.toml"
    file.write_text(content)

    with pytest.raises(SettingInvalid, match=r"ENGINES_FILE .*engines\.toml"):
        specs_of(ENGINES_FILE=str(file))


def test_a_missing_engines_file(tmp_path: Path):
    with pytest.raises(SettingInvalid, match=r"ENGINES_FILE .*cannot be read"):
        specs_of(ENGINES_FILE=str(tmp_path / "none.toml"))
