"""Imports: down the storeys, without knots, at the top of the file."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What is imported inside a function, by file: optional drivers, and what costs a start much and is seldom needed.
IMPORTED_LATE: Mapping[str, frozenset[str]] = {
    "aiservice/stores/databases.py": frozenset({"aiservice.stores.postgres"}),
    "aiservice/stores/redis/cluster.py": frozenset({"aiservice.stores.redis.discovery"}),
    "aiservice/stores/redis/topology.py": frozenset({"aiservice.stores.redis.discovery"}),
    "aiservice/stores/revisions.py": frozenset({"alembic"}),
}

HTTP_CLIENTS = frozenset({"aiohttp", "http.client", "httpx", "requests", "urllib.request", "urllib3"})
# Callers of this service or of a file's address, not engines: the first question of `run`, and `models pull URL`.
HTTP_CLIENT_FILES = frozenset({"aiservice/cli/public_api.py", "aiservice/cli/gguf.py"})

# What knows databases in a room: a backend, and what the databases of one say differently.
DATABASE_FILES = frozenset({"sql.py", "sqlite.py", "forms.py"})
DATABASE_DRIVERS = frozenset({"sqlite3", "sqlalchemy", "aiosqlite", "alembic", "asyncpg", "psycopg", "redis"})


def test_storeys():
    """In a process of its own: import-linter switches off the loggers of the one it runs in."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stdout


def test_no_import_cycles(house):
    names = {module.dotted for module in house.modules}
    graph = {module.dotted: _imported(module, names) - {module.dotted} for module in house.modules}

    assert _cycle(graph) == []


def test_imports_stand_at_the_top(house):
    late = [
        f"{module.name}:{node.lineno}"
        for module in house.modules
        for function in module.functions()
        for node in ast.walk(function.node)
        if isinstance(node, ast.Import | ast.ImportFrom) and not _is_optional(module.name, node)
    ]

    assert late == []


def test_http_clients_stay_in_engines(house):
    outside = [m for m in house.modules if m.room != "engines" and m.name not in HTTP_CLIENT_FILES]

    assert [m.name for m in outside if _uses(m, HTTP_CLIENTS)] == []


def test_database_drivers_stay_in_stores_and_backends(house):
    outside = [m for m in house.modules if m.room != "stores" and m.path.name not in DATABASE_FILES]
    # Other people's databases, and copies of them.
    own = [m for m in outside if m.path.parent.name not in {"live", "scratch"}]

    assert [m.name for m in own if _uses(m, DATABASE_DRIVERS)] == []


def test_rooms_never_import_their_backends(house):
    """Drivers are optional, so that only `app.py` may pull one in."""
    backends = {"memory", "sqlite", "sql", "redis", "fake", "llamacpp", "ollama", "openai_compat"}
    fronts = [m for m in house.modules if m.path.name == "__init__.py"]

    assert [m.name for m in fronts if any(name.rpartition(".")[2] in backends for name in _imports(m))] == []


def _imports(module) -> Iterator[str]:
    """Dotted names that a module imports when it is loaded; `from a import b` gives `a` and `a.b`."""
    skipped = {id(child) for node in module.nodes if _is_type_checking(node) for child in ast.walk(node)}
    for node in module.nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported(module, names: set[str]) -> set[str]:
    """Our modules that a module imports; where `a.b` is one of them, `from a import b` is no import of `a`."""
    imports = set(_imports(module)) & names
    through = {name.rpartition(".")[0] for name in imports}
    named = {node.module for node in module.nodes if isinstance(node, ast.ImportFrom) and node.module in through}
    return imports - {name for name in named if _takes_only_modules(module, name, names)}


def _takes_only_modules(module, name: str, names: set[str]) -> bool:
    rows = [node for node in module.nodes if isinstance(node, ast.ImportFrom) and node.module == name]
    return all(f"{name}.{alias.name}" in names for node in rows for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _uses(module, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in _imports(module) for package in packages)


def _is_optional(name: str, node: ast.Import | ast.ImportFrom) -> bool:
    packages = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return set(packages) <= IMPORTED_LATE.get(name, frozenset())


def _cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """What is left when modules that import nothing left, or that nothing left imports, are taken away: the rings."""
    left = graph
    while True:
        imported = frozenset().union(*left.values())
        kept = {name for name, imports in left.items() if imports & left.keys() and name in imported}
        if len(kept) == len(left):
            return sorted(left)
        left = {name: left[name] & kept for name in kept}
