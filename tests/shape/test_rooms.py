"""Rooms look alike: file names, a docstring that promises, a twin in memory and a conformance file for every port."""

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = frozenset({"aiservice", "bench", "deploy", "docs", "requirements", "tests", "web"})
TESTS = frozenset(
    {"unit", "conformance", "api", "clients", "faults", "browser", "shape", "docs", "servers", "simulation"}
)
STOREYS = frozenset(
    {
        "cli", "server", "app", "api", "sqlassist", "nexus", "admin", "gateway",
        "keys", "limits", "cache", "usage", "engines", "observe", "stores", "core",
    }
)  # fmt: skip
NOWHERE = frozenset({"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "base.py"})
# Other names for what every room calls model.py, port.py, service.py, memory.py, sqlite.py, sql.py or redis.py.
SYNONYMS: Mapping[str, frozenset[str]] = {
    "model.py": frozenset({"models.py", "schemas.py", "schema.py", "entities.py", "dto.py"}),
    "port.py": frozenset({"ports.py", "interface.py", "interfaces.py", "protocol.py", "protocols.py", "abc.py"}),
    "service.py": frozenset({"services.py", "manager.py", "logic.py"}),
    "memory.py": frozenset({"in_memory.py", "inmemory.py", "mem.py", "local.py", "null.py"}),
    "sqlite.py": frozenset({"sqlite3.py", "lite.py"}),
    "sql.py": frozenset({"db.py", "database.py", "repository.py", "store.py", "sqlalchemy.py", "postgres.py"}),
    "redis.py": frozenset({"redis_backend.py", "valkey.py"}),
}
MEMORY_TWIN: Mapping[str, str] = {"engines": "fake.py"}


def test_every_top_level_folder_is_known():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}

    assert folders - TOP - _ignored() == set()


def test_every_test_folder_is_known():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}

    assert folders - TESTS == set()


def test_every_room_is_known(house):
    assert {module.room for module in house.modules} - STOREYS == {"__init__", "__main__"}


def test_no_file_is_called_after_nothing(house):
    assert [m.name for m in house.modules if m.path.name in NOWHERE] == []


def test_no_room_invents_a_name(house):
    invented = frozenset().union(*SYNONYMS.values())
    rooms = {port.parent.name for port in house.ports} | {"gateway", "admin"}

    assert [m.name for m in house.modules if m.room in rooms and m.path.name in invented] == []


def test_every_room_says_what_it_promises(house):
    lengths = {room.name: _docstring_lines(room / "__init__.py") for room in house.rooms}

    assert {name: lines for name, lines in lengths.items() if not 5 <= lines <= 15} == {}


def test_every_port_has_its_in_memory_twin(house):
    assert house.ports
    for port in house.ports:
        assert (port.parent / MEMORY_TWIN.get(port.parent.name, "memory.py")).is_file(), port.parent.name


def test_every_backend_passes_its_port_s_conformance_file(house):
    """Each class of a backend file is named by a file in tests/conformance."""
    texts = "\n".join(m.source for m in house.tests if m.path.parent.name == "conformance")
    backends = [
        f"{module.room}.{node.name}"
        for module in house.modules
        if module.path.with_name("port.py").is_file()
        and module.path.name in {"memory.py", "sqlite.py", "sql.py", "redis.py"}
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]

    assert len(backends) >= len(house.ports) - 1
    assert [name for name in backends if name.partition(".")[2] not in texts] == []


def _ignored() -> set[str]:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    return {line.strip("/") for line in lines} | {"__pycache__"}


def _docstring_lines(path: Path) -> int:
    first = ast.parse(path.read_text(encoding="utf-8")).body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
