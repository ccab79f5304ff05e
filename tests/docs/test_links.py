"""Every relative link of the docs leads to a file, and every file that the architecture page names exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(path for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))))


def links(path: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path):
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def test_the_architecture_page_names_real_files():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:aiservice/)?[a-z_]+/[a-z_/]+\.(?:py|lua|sql))`", text))

    assert len(named) >= 10
    assert [
        name for name in sorted(named) if not any((ROOT / base / name).is_file() for base in ("", "aiservice"))
    ] == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]

    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []
