"""The tree as a whole: no secret in it, no silent test, no foreign address in a lock, few words."""

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from aiservice.keys import secret

ROOT = Path(__file__).resolve().parents[2]
KEY = re.compile(r"vpn(?:adm)?_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")
UNREAD = frozenset({".venv", ".git", "data", "dist", "node_modules", "__pycache__"})
SKIPS = frozenset({"skip", "skipif", "xfail", "importorskip", "skipTest"})
# What this machine may lack; each says so loudly, and STRICT=1, as in .ci/run, makes it a failure.
MAY_SKIP = frozenset({"tests/faults/disks.py", "tests/servers/fixtures.py"})  # mounts need root; servers of stores
GLOSSARY_TERMS_MAX = 30


def test_no_key_is_in_the_tree():
    """A key whose checksum is right may open a door somewhere; examples carry a wrong one."""
    found = [
        f"{path.relative_to(ROOT)}: {key[:8]}..."
        for path in _texts()
        for key in KEY.findall(_read(path))
        if _is_key(key)
    ]

    assert found == []


def test_the_search_would_find_a_key():
    made = secret.make()

    assert KEY.fullmatch(made)
    assert _is_key(made)
    assert not _is_key(made[:-1] + ("A" if made[-1] != "A" else "B"))


def test_no_test_is_skipped(house):
    skips = [
        f"{module.name}:{node.lineno}"
        for module in house.tests
        if module.name not in MAY_SKIP
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr in SKIPS and ast.unparse(node).startswith(("pytest.", "self."))
    ]

    assert skips == []


def test_no_test_patches_our_modules(house):
    """A double is handed in through a constructor; a patched module tests the patch."""
    patches = re.compile(r"""(mock\.patch\(|monkeypatch\.setattr\(|patch\()\s*["']?aiservice""")

    assert [module.name for module in house.tests if patches.search(module.source)] == []


def test_locks_hold_names_versions_and_hashes_only():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert not re.search(r"https?://|file://|--index|--extra-index|--find-links", text), lock.name


def test_npm_locks_hold_names_versions_and_hashes_only():
    locks = [path for path in _texts() if path.name == "package-lock.json"]

    assert locks
    for lock in locks:
        packages = {name: facts for name, facts in json.loads(_read(lock))["packages"].items() if name}
        assert all("integrity" in facts and "resolved" not in facts for facts in packages.values()), lock


def test_each_lock_contains_the_smaller_ones():
    run, dev, clients = (_pins(ROOT / "requirements" / name) for name in ("run.txt", "dev.txt", "clients.txt"))

    assert run <= dev <= clients


def test_few_words():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|", _read(ROOT / "docs" / "glossary.md"), re.MULTILINE)

    assert 1 <= len(rows) <= GLOSSARY_TERMS_MAX
    assert rows == sorted(set(rows))


def _texts() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in UNREAD and not re.fullmatch(r"\..*cache", name)]
        paths = [Path(folder, name) for name in names if name not in UNREAD]
        yield from (path for path in paths if path.is_file() and path.stat().st_size < 2_000_000)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _is_key(text: str) -> bool:
    return secret.parse(text) is not None


def _pins(path: Path) -> set[str]:
    return set(re.findall(r"^[a-z0-9-]+==\S+", path.read_text(encoding="utf-8"), re.MULTILINE))
