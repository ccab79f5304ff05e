"""Every fenced block of the README and the docs is run, or is data that reads, or says why not.

An HTML comment on the line before a block chooses, and this file is its only reader:
  <!-- run: service -->      sh, python or js against a running service; every curl must answer 2xx
  <!-- run: service 401 -->  the same, where the block shows a refusal of this status
  <!-- run: stores -->       sh on a PostgreSQL and a Redis; all of a page are one script, in their order
  <!-- output -->            a json block: the answer of the service block before it, compared by its fields
  <!-- not run: reason -->   left out, for the reason; at most `NOT_RUN_MAX` of them
Without one: sh and python blocks run as they stand, but that set-up lines (`make run`, `git clone`) are checked against
the Makefile; json and toml must parse; text and http are prose.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.nodes import run_node
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import PostgresServer
from tests.servers.processes import free_port
from tests.servers.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"(?:^<!--\s*(?P<mark>run:|not run:|output)(?P<rest>.*?)-->\n\n?)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL = frozenset({"sh", "bash", "console", "shell"})
DATA = frozenset({"json", "toml", "text", "http", "ini", "nginx", "yaml", "diff"})
SETUP = re.compile(r"^(git clone \S+( \S+)?|cd \S+|make( \w+=\S+)*( [a-z]+)?( \w+=('[^']*'|\S+))*)$")
PUBLISHED = re.compile(r"http://(127\.0\.0\.1|localhost):5001")
STATUS = re.compile(r"^curl-status (\d+)$", re.MULTILINE)
NOT_RUN_MAX = 6

# Says every answer's status on stderr, so that a refusal cannot pass for an answer.
CURL = r"""set -eu
curl() {
    command curl --silent --show-error --max-time 60 --write-out '%{stderr}curl-status %{http_code}\n' "$@"
}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its mark and the mark's words."""

    where: str
    language: str
    mark: str
    words: str
    text: str
    before: "Block | None"

    @property
    def is_service(self) -> bool:
        return self.mark == "run:" and self.words.split()[:1] == ["service"]

    @property
    def is_on_stores(self) -> bool:
        return (self.mark, self.words) == ("run:", "stores")

    @property
    def is_setup(self) -> bool:
        return self.language in SHELL and not self.mark and all(SETUP.match(line) for line in self.commands)

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block without prompts, comments and empty ones."""
        lines = (line.removeprefix("$ ").partition(" #")[0].strip() for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def statuses(self) -> set[str]:
        return set(self.words.split()[1:])


def blocks_in(text: str, name: str) -> Iterator[Block]:
    before = None
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        where = f"{name}:{line}"
        mark, words = match["mark"] or "", (match["rest"] or "").strip()
        before = Block(where, match["language"], mark, words, match["text"], before)
        yield before


PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
BLOCKS = tuple(
    block for path in PAGES for block in blocks_in(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
)


def chosen(*, is_service: bool) -> list[Any]:
    return [
        pytest.param(block, id=block.where)
        for block in BLOCKS
        if block.is_service == is_service and block.mark != "output" and not block.is_on_stores
    ]


def outputs() -> list[Any]:
    return [pytest.param(block, id=block.where) for block in BLOCKS if block.mark == "output"]


def run(
    command: list[str], text: str, cwd: Path, environ: dict[str, str], *folders: Path
) -> subprocess.CompletedProcess[str]:
    """Runs a program over the text, with ours and those of these folders before the machine's."""
    path = ":".join(map(str, (ROOT / ".venv" / "bin", *folders, os.environ["PATH"])))
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**environ, "PATH": path},
        timeout=90,
        check=False,
    )


def ask(block: Block, service, folder: Path) -> str:
    """What a service block prints, after its statuses were checked."""
    text = PUBLISHED.sub(service.address, block.text)
    environ = {"KEY": service.key, "ADMIN_KEY": service.admin_key, "HOME": str(folder)}
    if block.language == "python":
        result = run([sys.executable, "-"], text, folder, environ)
        assert result.returncode == 0, result.stderr
        return result.stdout
    if block.language == "js":
        return run_node(text, **environ)
    result = run(["bash", "-s"], CURL + text, folder, environ)
    statuses = STATUS.findall(result.stderr)
    expected = block.statuses or {"200", "201", "202"}
    assert result.returncode == 0, result.stderr
    assert statuses, "the block calls no curl"
    assert set(statuses) <= expected, result.stdout + result.stderr
    return result.stdout


def shape(value: Any) -> Any:
    """A JSON value's fields and kinds, without what changes from call to call."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.mark.parametrize("block", chosen(is_service=False))
def test_block(block: Block, tmp_path: Path):
    if block.mark == "not run:":
        assert len(block.words) >= 10, "say why the block is not run"
    elif block.is_setup:
        assert_targets(block)
    elif block.language in SHELL:
        result = run(["bash", "-eus"], "\n".join(block.commands), tmp_path, {"HOME": str(tmp_path)})
        assert result.returncode == 0, result.stderr
    elif block.language == "python":
        result = run([sys.executable, "-"], block.text, tmp_path, {"HOME": str(tmp_path)})
        assert result.returncode == 0, result.stderr
    else:
        assert_reads(block)


def scripts_on_stores() -> list[Any]:
    """The marked blocks of each page, as one script."""
    texts: dict[str, list[str]] = {}
    for block in BLOCKS:
        if block.is_on_stores:
            texts.setdefault(block.where.partition(":")[0], []).append(block.text)
    return [pytest.param("".join(parts), id=page) for page, parts in texts.items()]


@pytest.mark.stores
@pytest.mark.parametrize("script", scripts_on_stores())
def test_blocks_on_stores(
    script: str, postgres: PostgresBinaries, postgres_template: Path, redis_binary: Path, tmp_path: Path
):
    environ = {
        "HOME": str(tmp_path),
        "PORT": str(free_port()),
        "DATA_DIR": str(tmp_path / "data"),
        "EMBEDDED_MODEL": "off",
        "OLLAMA_URL": "",
    }
    with (
        PostgresServer.start(postgres, template=postgres_template) as database,
        RedisServer.start(redis_binary) as redis,
    ):
        superuser = database.url().rpartition("/")[0]
        script = script.replace("postgresql://postgres@127.0.0.1:5432", superuser)
        for published, ours in (("5432", database.port), ("6379", redis.port), ("5001", environ["PORT"])):
            script = script.replace(f"127.0.0.1:{published}", f"127.0.0.1:{ours}")
        # What the script has started ends with it, however that is.
        whole = f"set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}"
        result = run(["bash", "-s"], whole, tmp_path, environ, postgres.folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert '"status":"ok"' in result.stdout


@pytest.mark.real
@pytest.mark.parametrize("block", chosen(is_service=True))
def test_block_against_the_service(block: Block, service, tmp_path: Path):
    ask(block, service, tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("block", outputs())
def test_output_is_real(block: Block, service, tmp_path: Path):
    assert block.before is not None
    assert block.before.is_service, "an output follows the service block that it is of"

    printed = ask(block.before, service, tmp_path)

    assert shape(json.loads(printed)) == shape(json.loads(block.text))


def test_few_blocks_are_not_run():
    assert len([block.where for block in BLOCKS if block.mark == "not run:"]) <= NOT_RUN_MAX


def test_every_fence_is_seen():
    """An unclosed or indented fence would hide a block from this file."""
    fences = sum(len(re.findall(r"^\s*```", path.read_text(encoding="utf-8"), re.MULTILINE)) for path in PAGES)

    assert fences == 2 * len(BLOCKS)


def test_every_mark_stands_before_a_block():
    marks = [
        mark
        for path in PAGES
        for mark in re.findall(r"<!--\s*(?:run:|not run:|output).*?-->", path.read_text(encoding="utf-8"))
    ]

    assert len(marks) == len([block for block in BLOCKS if block.mark])


def test_marks_are_read():
    text = """
<!-- run: service 401 -->
```sh
curl -s http://127.0.0.1:5001/usage
```

<!-- output -->

```json
{"a": [1, 2]}
```

```sh
# set up
make test RING=fast  # quick
```

<!-- not run: it needs a second machine -->
```sh
reboot
```
"""
    service, output, setup, left_out = blocks_in(text, "page")

    assert (service.is_service, service.statuses) == (True, {"401"})
    assert (output.mark, output.before) == ("output", service)
    assert (setup.is_setup, setup.commands) == (True, ["make test RING=fast"])
    assert (left_out.mark, left_out.words, left_out.is_service) == ("not run:", "it needs a second machine", False)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sh", "false\n"),
        ("sh", "true | false\n"),
        ("python", "1 / 0\n"),
        ("json", "{'a': 1}\n"),
        ("sh", "make nothing\n"),
    ],
)
def test_a_wrong_block_fails(language: str, text: str, tmp_path: Path):
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        test_block(Block("page:1", language, "", "", text, None), tmp_path)


def test_only_kinds_and_fields_of_an_output_count():
    assert shape({"id": "a", "n": 1, "list": [1, 2], "none": None}) == shape(
        {"id": "b", "n": 2.5, "list": [3], "none": None}
    )
    assert shape({"id": "a"}) != shape({"id": 1})
    assert shape({"id": "a"}) != shape({"id": "a", "more": True})


def assert_targets(block: Block) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for line in block.commands if line.startswith("make") for word in line.split()[1:] if "=" not in word}

    assert block.commands
    assert named <= targets


def assert_reads(block: Block) -> None:
    assert block.language in DATA, "name the block's language"
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
