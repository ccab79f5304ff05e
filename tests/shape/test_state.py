"""Nothing hidden: no global state, no swallowed errors, the environment read in one place, SQL where it belongs."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

ENVIRONMENT_NAMES = frozenset({"environ", "environb", "getenv", "getenvb", "putenv"})
ENVIRONMENT_READER = "aiservice/core/settings.py"
# prometheus_client takes its folder from the environment alone, before it is imported.
ENVIRONMENT_EXCEPTIONS = frozenset({"PROMETHEUS_MULTIPROC_DIR"})

DATABASE_FILES = frozenset({"sql.py", "sqlite.py", "forms.py"})
MUTABLE_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE_CALLS = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"})
READ_ONLY = ("Final", "Mapping", "Sequence", "Collection")
SQL = re.compile(
    r"^\s*(select\b.+\bfrom|insert\s+(or\s+\w+\s+)?into|update\s+\w+\s+set|delete\s+from|create\s+(table|index|trigger|view)"
    r"|alter\s+table|drop\s+(table|index)|pragma\s|begin\s+immediate)\b",
    re.IGNORECASE | re.DOTALL,
)


def test_no_global_statements(house):
    assert house.find(lambda module: (n.lineno for n in module.nodes if isinstance(n, ast.Global))) == []


def test_no_mutable_state_in_modules(house):
    assert house.find(_mutable_state) == []


def test_the_environment_is_read_in_one_file(house):
    others = [module for module in house.modules if module.name != ENVIRONMENT_READER]

    assert [f"{module.name}:{line}" for module in others for line in _environment_reads(module)] == []


def test_no_bare_except(house):
    assert house.find(lambda module: (n.lineno for n in _handlers(module) if n.type is None)) == []


def test_broad_excepts_are_few_and_say_why(house):
    broad = [(module, node) for module in house.modules for node in _handlers(module) if _is_broad(node)]
    silent = [f"{module.name}:{node.lineno}" for module, node in broad if not _has_comment(module, node)]

    assert silent == []
    assert len(broad) * 1_000 / house.lines <= 0.5, [f"{module.name}:{node.lineno}" for module, node in broad]


def test_type_ignores_are_few_and_have_a_code(house):
    ignores = [
        (f"{module.name}:{line}", text)
        for module in house.modules
        for line, text in _comments(module)
        if "type: ignore" in text
    ]

    assert [where for where, text in ignores if not re.search(r"type: ignore\[[a-z-]+", text)] == []
    assert len(ignores) * 1_000 / house.lines <= 1, ignores


def test_sql_stays_in_stores_and_backends(house):
    # SQL is what SQL assist works with.
    elsewhere = [m for m in house.modules if m.room not in {"stores", "sqlassist"}]
    outside = [m for m in elsewhere if m.path.name not in DATABASE_FILES]

    assert [f"{m.name}:{line}" for m in outside for line in _sql_texts(m)] == []


def test_no_unfinished_code(house):
    notes = re.compile(r"\b(TODO|FIXME|XXX)\b")
    unfinished = house.find(lambda module: (line for line, text in _comments(module) if notes.search(text)))
    stubs = house.find(
        lambda module: (n.lineno for n in module.nodes if isinstance(n, ast.Name) and n.id == "NotImplementedError")
    )

    assert unfinished + stubs == []


def _mutable_state(module) -> Iterator[int]:
    for node in module.tree.body:
        if isinstance(node, ast.Assign):
            annotation, names = "", [ast.unparse(target) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            annotation, names = ast.unparse(node.annotation), [ast.unparse(node.target)]
        else:
            continue
        is_read_only = annotation.startswith(READ_ONLY) and names[0].isupper()
        if names != ["__all__"] and _is_mutable(node.value) and not is_read_only:
            yield node.lineno


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called in MUTABLE_CALLS
    return isinstance(value, MUTABLE_DISPLAYS)


def _environment_reads(module) -> Iterator[int]:
    """Every use of the environment but `os.environ["PROMETHEUS_MULTIPROC_DIR"] = ...` and the like."""
    excepted = {
        id(child)
        for node in module.nodes
        if isinstance(node, ast.Subscript | ast.Call) and _words(module, node) & ENVIRONMENT_EXCEPTIONS
        for child in ast.walk(node)
    }
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            is_read = isinstance(node.value, ast.Name) and node.value.id == "os" and node.attr in ENVIRONMENT_NAMES
        else:
            is_import = isinstance(node, ast.ImportFrom) and node.module == "os"
            is_read = is_import and bool({alias.name for alias in node.names} & ENVIRONMENT_NAMES)
        if is_read and id(node) not in excepted:
            yield node.lineno


def _words(module, node: ast.Subscript | ast.Call) -> set[object]:
    """The constants that a subscript or a call is given, also by the name of a constant of the module."""
    parts = [node.slice] if isinstance(node, ast.Subscript) else node.args
    named = {
        ast.unparse(target): line.value.value
        for line in module.tree.body
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
        for target in line.targets
    }
    return {part.value if isinstance(part, ast.Constant) else named.get(ast.unparse(part)) for part in parts}


def _handlers(module) -> Iterator[ast.ExceptHandler]:
    return (node for node in module.nodes if isinstance(node, ast.ExceptHandler))


def _is_broad(node: ast.ExceptHandler) -> bool:
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in caught)


def _has_comment(module, node: ast.ExceptHandler) -> bool:
    """A reason beside the `except` or on the lines around it; a linter's own mark is none."""
    lines = range(node.lineno - 1, node.body[0].lineno + 1)
    texts = [re.sub(r"#\s*noqa:?[ A-Z0-9,]*", "", text) for line, text in _comments(module) if line in lines]
    return any(len(text.strip("# ")) >= 10 for text in texts)


def _comments(module) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _sql_texts(module) -> Iterator[int]:
    prose = {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}
    for node in module.nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in prose
            and SQL.match(node.value)
        ):
            yield node.lineno
