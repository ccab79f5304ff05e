"""The tree as the shape tests see it: every file of the package parsed once."""

import ast
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "aiservice"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """One function or method; `lines` from its `def` to its end, decorators not counted."""

    where: str
    node: FunctionNode
    is_method: bool

    @property
    def lines(self) -> int:
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def body_lines(self) -> int:
        """Lines of the body without the docstring."""
        body = self.node.body[1:] if ast.get_docstring(self.node) else self.node.body
        return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0

    @property
    def positional(self) -> list[str]:
        names = [argument.arg for argument in (*self.node.args.posonlyargs, *self.node.args.args)]
        is_bound = self.is_method and not any(
            isinstance(decorator, ast.Name) and decorator.id == "staticmethod" for decorator in self.node.decorator_list
        )
        return names[1:] if is_bound else names

    @property
    def parameters(self) -> list[str]:
        return self.positional + [argument.arg for argument in self.node.args.kwonlyargs]


@dataclass(frozen=True)
class Module:
    """One Python file. `room` is the folder below the package, or the file's own name for `app.py`."""

    path: Path
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree))

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def dotted(self) -> str:
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @property
    def lines(self) -> int:
        return len(self.source.splitlines())

    def functions(self) -> Iterator[Function]:
        for node in self.nodes:
            is_class = isinstance(node, ast.ClassDef)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, FunctionNode):
                    yield Function(f"{self.name}:{child.lineno} {child.name}", child, is_class)


@dataclass(frozen=True, repr=False)
class House:
    """The package and the tests beside it."""

    modules: tuple[Module, ...]
    tests: tuple[Module, ...]

    @property
    def lines(self) -> int:
        return sum(module.lines for module in self.modules)

    @property
    def rooms(self) -> list[Path]:
        return sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))

    @property
    def ports(self) -> list[Path]:
        return sorted(PACKAGE.rglob("port.py"))

    def functions(self) -> Iterator[Function]:
        for module in self.modules:
            yield from module.functions()

    def p90(self, values: Sequence[int]) -> int:
        """The ninth decile: nine of ten values are at most this."""
        return sorted(values)[math.ceil(0.9 * len(values)) - 1]

    def find(self, wrong: Callable[[Module], Iterator[int]]) -> list[str]:
        """`file:line` of everything that a rule's search yields."""
        return [f"{module.name}:{line}" for module in self.modules for line in sorted(wrong(module))]


def read(root: Path) -> tuple[Module, ...]:
    return tuple(Module(path, path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.py")))


@pytest.fixture(scope="session")
def house() -> House:
    return House(read(PACKAGE), read(ROOT / "tests"))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    house = House(read(PACKAGE), read(ROOT / "tests"))
    files = [module.lines for module in house.modules]
    functions = [function.lines for function in house.functions()]
    tests = sum(module.lines for module in house.tests)
    terminalreporter.line(
        f"shape: {len(files)} files, {house.lines} lines; "
        f"file median {statistics.median(files):.0f}, p90 {house.p90(files)}, max {max(files)}; "
        f"function median {statistics.median(functions):.0f}, p90 {house.p90(functions)}, max {max(functions)}; "
        f"tests to code {tests / house.lines:.2f} (aim 1.0 to 1.8)"
    )
