"""The generated pages are those of the code, and a stale one fails."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiservice.api.routes import ENDPOINTS
from aiservice.core import settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ".env.example",
    "docs/reference/settings.md",
    "docs/reference/errors.md",
    "docs/reference/openapi.json",
    "docs/reference/routes.md",
)


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    result = generate("--into", str(folder))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_fresh(fresh: Path, name: str):
    assert (fresh / name).read_text(encoding="utf-8") == read(name), f"{name} is stale: run `make docs`"


def test_no_other_page_is_in_the_reference():
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "reference").iterdir()}

    assert pages == {name for name in PAGES if name.startswith("docs/")}


def test_check_names_a_stale_page(fresh: Path):
    page = fresh / "docs/reference/errors.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("429", "430"), encoding="utf-8")

    result = generate("--check", "--into", str(fresh))
    page.write_text(text, encoding="utf-8")

    assert result.returncode == 1
    assert result.stderr == "docs/reference/errors.md is stale: run `make docs` and commit it.\n"


def test_the_example_environment_is_the_default_one():
    rows = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", read(".env.example"), re.MULTILINE))
    example = settings.load({**rows, "ENVIRONMENT": "development"})

    assert list(rows) == [name for name, _, _ in settings.table()]
    assert example == settings.load({"ENVIRONMENT": "development"})


def test_every_example_of_an_error_is_the_four_key_body():
    blocks = re.findall(r"```json\n(.*?)```", read("docs/reference/errors.md"), re.DOTALL)

    assert len(blocks) >= 15
    for block in blocks:
        assert json.loads(block)["error"].keys() == {"message", "type", "param", "code"}


def test_the_table_of_routes_is_the_page():
    listed = set(re.findall(r"^## [A-Z]+ (/\S*)$", read("docs/reference/routes.md"), re.MULTILINE))

    assert listed == set(ENDPOINTS)


def test_every_operation_of_the_description_has_its_section():
    document = json.loads(read("docs/reference/openapi.json"))
    page = read("docs/reference/routes.md")
    routes = [f"## {method.upper()} {path}\n" for path, methods in document["paths"].items() for method in methods]

    assert len(routes) >= 15
    assert [route for route in routes if page.count(route) != 1] == []
