"""The rows of a data folder, each put to the machine and scored. README.md of the data says what is right."""

import importlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import sqlrows

from aiservice.core.errors import AIServiceError, StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case, open_case
from aiservice.sqlassist.model import Answer, Target, Task

Verdict = Literal["right", "wrong", "refused", "broken"]
Proposals = Callable[[Mapping[str, Any]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one row: `ms` is CPU time, `note` what was wrong with it, `counts` what is summed up by class."""

    id: str
    kind: str
    verdict: Verdict
    ms: float
    note: str = ""
    sql: str | None = None
    confidence: float = 0.0
    is_verified: bool = False
    is_invalid: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Data:
    """A data folder."""

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _open: dict[str, sqlite3.Connection] = field(default_factory=dict)
    _golds: dict[tuple[str, str], sqlrows.Outcome] = field(default_factory=dict)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Empty where the folder has no such file."""
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    @cached_property
    def schemas(self) -> Mapping[str, str]:
        """DDL by database, with and without the suite's name before it."""
        listed: dict[str, str] = json.loads((self.folder / "schemas.json").read_text(encoding="utf-8"))
        return listed | {name.rpartition("/")[2]: text for name, text in listed.items()}

    def target(self, row: Mapping[str, Any]) -> Target:
        return Target(row["db"], f"sqlite:///{(self.folder / row['dbs'][0]).resolve()}")

    def connection(self, db: str) -> sqlite3.Connection:
        if db not in self._open:
            self._open[db] = self._stack.enter_context(sqlrows.opened(self.folder / db))
        return self._open[db]

    def gold(self, db: str, sql: str) -> sqlrows.Outcome:
        if (db, sql) not in self._golds:
            self._golds[db, sql] = sqlrows.run(self.connection(db), sql)
        return self._golds[db, sql]

    def is_right(self, row: Mapping[str, Any], sql: str) -> bool:
        """Whether a statement's result is that of one gold on every file."""
        found = {db: sqlrows.run(self.connection(db), sql) for db in row["dbs"]}
        return any(self._agrees(row, gold, found) for gold in row["golds"])

    def _agrees(self, row: Mapping[str, Any], gold: str, found: Mapping[str, sqlrows.Outcome]) -> bool:
        flags = {"ordered": bool(row.get("ordered")), "allow_extra": bool(row.get("allow_extra"))}
        return all(sqlrows.are_equal(self.gold(db, gold), found[db], **flags) for db in row["dbs"])


def action_named(name: str) -> Callable[[Case], Answer]:
    """Raises `ImportError` where it is not there yet."""
    module = importlib.import_module(f"aiservice.sqlassist.{name}")
    if not hasattr(module, name):
        raise ImportError(f"aiservice.sqlassist.{name} has no {name} yet")
    found: Callable[[Case], Answer] = getattr(module, name)
    return found


def answered(task: Task) -> tuple[Answer | None, str, float]:
    """The answer, or the words of the refusal, and the CPU time in ms."""
    action = action_named(task.action)
    started_s = time.process_time()
    answer, words = None, ""
    try:
        with open_case(task) as case:
            answer = action(case)
    except AIServiceError as error:
        words = error.public
    return answer, words, (time.process_time() - started_s) * 1_000


def generated(data: Data, row: Mapping[str, Any], proposals: Proposals | None = None) -> Score:
    task = Task(
        "generate",
        row["question"],
        "sqlite",
        database=data.target(row),
        context=row.get("hint") or None,
        proposals=proposals(row) if proposals else (),
    )
    return _compared(data, row, task, str(row.get("suite", "")))


def fixed(data: Data, row: Mapping[str, Any]) -> Score:
    task = Task(
        "fix",
        row["broken"],
        "sqlite",
        database=data.target(row),
        error=row.get("error") or None,
        question=row.get("question") or None,
        context=row.get("hint") or None,
    )
    return _compared(data, row, task, str(row["kind"]))


def _compared(data: Data, row: Mapping[str, Any], task: Task, kind: str) -> Score:
    answer, words, ms = tried(task)
    if answer is None or answer.sql is None:
        reason = words or (answer.refused.reason if answer is not None and answer.refused else "")
        return Score(row["id"], kind, "broken" if words.startswith("! ") else "refused", ms, reason)
    invalid = next((text for db in row["dbs"] if (text := sqlrows.unresolved(data.connection(db), answer.sql))), None)
    verdict: Verdict = "right" if invalid is None and data.is_right(row, answer.sql) else "wrong"
    return Score(
        row["id"],
        kind,
        verdict,
        ms,
        invalid or "",
        answer.sql,
        answer.confidence,
        answer.is_verified,
        invalid is not None,
    )


def abstained(data: Data, row: Mapping[str, Any]) -> Score:
    """Right is a refusal."""
    answer, words, ms = tried(Task("generate", row["question"], "sqlite", database=data.target(row)))
    if answer is None or answer.sql is None:
        reason = words or (answer.refused.reason if answer is not None and answer.refused else "")
        return Score(row["id"], str(row["kind"]), "broken" if words.startswith("! ") else "right", ms, reason)
    return Score(row["id"], str(row["kind"]), "wrong", ms, "", answer.sql, answer.confidence, answer.is_verified)


def tried(task: Task) -> tuple[Answer | None, str, float]:
    """An action that fails is a broken row, not the end of the run."""
    try:
        return answered(task)
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is that row's result
        return None, f"! {type(error).__name__}: {error}", 0.0


def explained(data: Data, row: Mapping[str, Any]) -> Score:
    """Each fact has to be among the answer's and, but for function words, in its text; others there are false."""
    answer, words, ms = tried(Task("explain", row["sql"], "sqlite", schema=data.schemas[row["db"]]))
    wanted = set(_facts(row["facts"]))
    if answer is None:
        return Score(row["id"], str(row["db"]), "broken" if words.startswith("! ") else "refused", ms, words)
    facts = answer.explanation.facts
    have = set(_facts({name: getattr(facts, name) for name in row["facts"]}))
    text = answer.explanation.text.lower()
    named = {(kind, name) for kind, name in wanted & have if kind not in _SPOKEN or name in text}
    missing, false = sorted(wanted - named), sorted(have - wanted)
    counts = {"facts": len(wanted), "named": len(named), "false": len(false)}
    verdict: Verdict = "wrong" if missing or false else "right"
    note = f"missing {missing} false {false}" if missing or false else ""
    return Score(row["id"], str(row["db"]), verdict, ms, note, row["sql"], counts=counts)


_SPOKEN = frozenset({"tables", "columns", "values", "group_by", "limit"})


def _facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, value in facts.items():
        if isinstance(value, list | tuple):
            yield from ((kind, _said(one)) for one in value)
        elif value is not None:
            yield kind, _said(value)


def _said(fact: Any) -> str:
    """In lower case; 20.0 is 20."""
    text = str(fact).lower()
    return text.removesuffix(".0") if text.removesuffix(".0").lstrip("-").isdigit() else text


def gated(_data: Data, row: Mapping[str, Any]) -> Score:
    """Every statement of the text goes to the gate; it is let through when all are."""
    started_s = time.process_time()
    reason = ""
    try:
        statements = gate.parse(row["sql"], row["dialect"])
        for statement in statements:
            gate.ensure_read(statement)
        if not statements:
            reason = "nothing to run"
    except StatementRefused as error:
        reason = error.public
    ms = (time.process_time() - started_s) * 1_000
    is_right = bool(reason) == (row["expect"] == "refuse")
    return Score(row["id"], str(row["expect"]), "right" if is_right else "wrong", ms, reason, row["sql"][:300])


def percentile(values: Sequence[float], share: float) -> float:
    """0 for none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
