"""Measures how much the tests of the exact parts notice: the mutation score, with every survivor printed.

    python bench/mutation.py             all modules, about two minutes on two cores
    python bench/mutation.py bucket      those whose path has this in it

mutmut changes a module in one small place at a time and runs its tests; a change that no test notices survives. It
leaves module constants and decorated functions alone. It works in a copy in a temporary folder. The command fails
where a module's score is below the goal. Survivors that no test can notice are named as such and still count.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOAL_PERCENT = 90
# Each module and the tests that are to notice its changes.
MODULES: Mapping[str, tuple[str, ...]] = {
    "aiservice/limits/bucket.py": ("tests/unit/limits/test_bucket.py",),
    "aiservice/cache/key.py": ("tests/unit/cache/test_key.py",),
}
# What is in the changed line of a survivor that behaves as the original does, and why.
EQUIVALENT: Mapping[str, str] = {
    "if stamp_us > now_us:": "at the stamp itself no time has passed, and both branches say the same",
    "zip(costs, states,": "the function's other zips compare the lengths too",
    "zip(take.costs, amounts,": "the lengths were compared two lines above",
    'encode("UTF-8"': "another spelling of the same codec",
}
# mutmut calls every function through two of its own.
DEEPER = "\nimport sys\n\nsys.setrecursionlimit(3 * sys.getrecursionlimit())\n"
_NOTICED = frozenset({"killed", "timeout", "segfault", "caught by type check"})
_RESULT = re.compile(r"^\s*([\w.]+)__mutmut_(\d+): (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module and what became of it."""

    name: str
    status: str

    @property
    def is_noticed(self) -> bool:
        return self.status in _NOTICED

    def is_of(self, module: str) -> bool:
        return self.name.startswith(module.removesuffix(".py").replace("/", ".") + ".")


def mutants_in(results: str) -> list[Mutant]:
    """What `mutmut results --all` printed."""
    return [Mutant(f"{name}__mutmut_{number}", status) for name, number, status in _RESULT.findall(results)]


def score_percent(mutants: Sequence[Mutant]) -> float:
    """How many of the changes were noticed; 0 where nothing was changed."""
    return 100 * sum(mutant.is_noticed for mutant in mutants) / len(mutants) if mutants else 0.0


def change_in(diff: str) -> tuple[str, str]:
    """The first line that was changed, before and after."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    before = next((line[1:] for line in lines if line.startswith("-")), "")
    return before, next((line[1:] for line in lines if line.startswith("+")), "")


def excuse_for(after: str) -> str | None:
    """Why no test can notice the change, where that is known."""
    return next((reason for text, reason in EQUIVALENT.items() if text in after), None)


def config_of(pyproject: str, modules: Sequence[str]) -> str:
    """The project's own settings with those of mutmut."""
    tests = [test for module in modules for test in MODULES[module]]
    return (
        f"{pyproject}\n[tool.mutmut]\nsource_paths = ['aiservice']\nonly_mutate = {list(modules)}\n"
        f"also_copy = ['aiservice', 'tests']\npytest_add_cli_args_test_selection = {tests}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", default="", help="only modules whose path has this in it")
    part = parser.parse_args().part
    modules = [module for module in MODULES if part in module]
    if not modules:
        parser.error(f"no module has {part!r} in its path; there are {', '.join(MODULES)}")
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name)
        _copy(folder, modules)
        _mutmut(folder, "run", "--max-children", str(os.cpu_count() or 1))
        found = mutants_in(_mutmut(folder, "results", "--all", "true"))
        return max([_report(folder, module, [one for one in found if one.is_of(module)]) for module in modules])


def _copy(folder: Path, modules: Sequence[str]) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "aiservice", folder / "aiservice", ignore=ignore)
    for test in ["tests/conftest.py", *[test for module in modules for test in MODULES[module]]]:
        (folder / test).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / test, folder / test)
    with (folder / "tests/conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(DEEPER)
    config = config_of((ROOT / "pyproject.toml").read_text(encoding="utf-8"), modules)
    (folder / "pyproject.toml").write_text(config, encoding="utf-8")


def _mutmut(folder: Path, *arguments: str) -> str:
    """What the command printed; it ends the tool where it fails."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"mutmut {arguments[0]} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def _report(folder: Path, module: str, mutants: Sequence[Mutant]) -> int:
    """Prints a module's survivors and score; 1 where the goal is missed."""
    excused = 0
    for mutant in mutants:
        if mutant.is_noticed:
            continue
        before, after = change_in(_mutmut(folder, "show", mutant.name))
        reason = excuse_for(after)
        excused += reason is not None
        print(f"{mutant.status}: {mutant.name}\n  - {before.strip()}\n  + {after.strip()}")
        if reason is not None:
            print(f"  equivalent: {reason}")
    score = score_percent(mutants)
    noticed = sum(mutant.is_noticed for mutant in mutants)
    print(f"{module}: {noticed} of {len(mutants)} noticed, {score:.1f} % (goal {GOAL_PERCENT}); {excused} equivalent\n")
    return int(score < GOAL_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
