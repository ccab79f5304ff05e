"""The bench of SQL assist scores what it says it scores, on a data folder of its own making."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sql
import sqlcases
import sqlmodel
import sqlplanted
import sqlrows
import sqlscan
import sqlswap
from sqlcases import Data, Score
from sqlrows import Outcome

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist.model import Answer, Change, Explanation, Facts, Refusal, Task
from aiservice.sqlassist.optimize.rules import RULES

DDL = "CREATE TABLE tractor (id INTEGER PRIMARY KEY, farmerName TEXT, horse_power INTEGER)"
ROWS = [(1, "Anna Tractor", 90), (2, "Bert", 120), (3, "Bert", 120)]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    (tmp_path / "db").mkdir()
    for name, rows in (("a", ROWS), ("b", ROWS[:1])):
        with sqlite3.connect(tmp_path / "db" / f"{name}.sqlite") as connection:
            connection.execute(DDL)
            connection.executemany("INSERT INTO tractor VALUES (?, ?, ?)", rows)
    (tmp_path / "schemas.json").write_text(json.dumps({"farms/village": f"{DDL};"}))
    return Data(tmp_path)


def row(**more: Any) -> dict[str, Any]:
    plain = {"id": "q/1", "suite": "farms", "db": "village", "dbs": ["db/a.sqlite", "db/b.sqlite"], "ordered": False}
    return {**plain, "question": "How many tractors are there?", "golds": ["SELECT COUNT(*) FROM tractor"], **more}


def answer(text: str | None, **more: Any) -> Answer:
    return Answer("generate", "sqlite", text, 0.5, is_verified=False, **more)


def plays(monkeypatch: pytest.MonkeyPatch, found: Answer | Exception) -> None:
    def action(_case: object) -> Answer:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(sqlcases, "action_named", lambda _name: action)


@pytest.mark.parametrize(
    ("gold", "found", "ordered", "extra", "is_equal"),
    [
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], False, False, True),
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], True, False, False),
        ([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], True, False, True),
        ([(1, "a")], [(1, "a", 9)], False, False, False),
        ([(1, "a")], [(9, 1, "a")], False, True, True),
        ([(1,), (1,)], [(1,)], False, False, False),
        ([(1, 2), (2, 1)], [(1, 1), (2, 2)], False, False, False),
        ([(0.1 + 0.2,)], [(0.3,)], False, False, True),
        ([(1,)], [(1.0,)], False, False, True),
        ([(None,)], [("",)], False, False, False),
        ([(1, 1)], [(1,)], False, True, False),
        ([], [], True, False, True),
    ],
)
def test_results_are_bags_or_lists_with_columns_in_any_order(
    gold: list[Any], found: list[Any], ordered: bool, extra: bool, is_equal: bool
) -> None:
    assert (
        sqlrows.are_equal(Outcome(tuple(gold)), Outcome(tuple(found)), ordered=ordered, allow_extra=extra) is is_equal
    )


def test_what_failed_is_equal_to_nothing() -> None:
    failed = Outcome(error="no such table")
    assert not sqlrows.are_equal(failed, failed, ordered=False, allow_extra=False)


@pytest.mark.parametrize(
    ("text", "verdict", "is_invalid"),
    [
        ("SELECT COUNT(id) FROM tractor", "right", False),
        ("SELECT 3", "wrong", False),
        ("SELECT COUNT(*) FROM plough", "wrong", True),
        ("SELECT COUNT(*) FROM", "wrong", True),
        (None, "refused", False),
    ],
)
def test_an_answer_has_to_be_right_on_every_file(
    data: Data, monkeypatch: pytest.MonkeyPatch, text: str | None, verdict: str, is_invalid: bool
) -> None:
    plays(monkeypatch, answer(text, refused=None if text else Refusal("ambiguous", "Which?")))
    score = sqlcases.generated(data, row())
    assert (score.verdict, score.is_invalid, score.kind) == (verdict, is_invalid, "farms")


def test_one_of_several_golds_is_enough(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    plays(monkeypatch, answer("SELECT MAX(horse_power) FROM tractor"))
    golds = ["SELECT 1", "SELECT horse_power FROM tractor ORDER BY horse_power DESC LIMIT 1"]
    assert sqlcases.generated(data, row(golds=golds)).verdict == "right"


def test_a_refusal_is_what_an_unanswerable_question_gets(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"id": "n/1", "kind": "off", "db": "village", "dbs": ["db/a.sqlite"], "question": "Who wrote Emma?"}
    plays(monkeypatch, answer("SELECT 1"))
    assert sqlcases.abstained(data, asked).verdict == "wrong"
    plays(monkeypatch, StatementRefused("no"))
    assert sqlcases.abstained(data, asked).verdict == "right"
    plays(monkeypatch, RuntimeError("a defect"))
    assert sqlcases.abstained(data, asked).verdict == "broken"


def test_facts_that_are_missing_unspoken_or_invented_are_counted(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        "tables": ["tractor"], "columns": ["id"], "aggregates": ["count"], "values": ["20.0"], "group_by": [],
        "order": "asc", "limit": 5, "set_ops": [],
    }  # fmt: skip
    asked = {"id": "e/1", "db": "village", "sql": "SELECT 1", "facts": facts}
    said = Facts(("Tractor",), ("id", "farmerName"), ("count",), ("20",), (), "asc", 5)
    plays(monkeypatch, answer("SELECT 1", explanation=Explanation("Counts each id of tractor, the first 5.", said)))
    score = sqlcases.explained(data, asked)
    assert score.counts == {"facts": 6, "named": 5, "false": 1}
    assert "20" in score.note
    assert "farmername" in score.note


def test_the_gate_is_scored_by_every_statement_of_a_text(data: Data) -> None:
    def verdict(text: str, expect: str) -> str:
        return sqlcases.gated(data, {"id": "s", "dialect": "postgres", "sql": text, "expect": expect}).verdict

    assert verdict("SELECT 1; SELECT 2", "allow") == "right"
    assert verdict("SELECT 1; DROP TABLE a", "refuse") == "right"
    assert verdict("SELECT 1", "refuse") == "wrong"


def test_classes_goals_and_the_surest_quarter() -> None:
    scores = [
        Score("1", "x", "right", 10.0, sql="a", confidence=0.2),
        Score("2", "x", "wrong", 30.0, sql="b", confidence=0.9, is_invalid=True),
        Score("3", "y", "right", 20.0, sql="c", confidence=0.1, is_verified=True),
        Score("4", "y", "refused", 40.0),
    ]
    lines = sql.by_class(scores).splitlines()
    assert "| all | 4 | 2 | 1 | 1 | 0 | 50.0 | 25.0 | 40.0 |" in lines
    assert [score.id for score in sql.surest(scores, 0.5)] == ["3", "2"]
    table = sql.goal_lines(sql.goals_of("generate", scores))
    assert "| right % | 50.0 | at least 35 | yes |" in table
    assert "| wrong % | 25.0 | at most 20 | NO |" in table
    assert "| do not parse or name what is not there | 1.0 | at most 0 | NO |" in table
    assert "wrong x 2" in sql.failures(scores)
    assert "right" not in sql.failures(scores).split()


def test_nouns_are_swapped_alike_everywhere(data: Data, tmp_path: Path) -> None:
    asked = row(
        question="How many tractors has each farmer with the name Anna Tractor?",
        golds=["SELECT FARMERNAME, COUNT(*) FROM tractor WHERE farmerName = 'Anna Tractor' GROUP BY 1"],
    )
    other, (new,) = sqlswap.swapped(data, [asked], tmp_path / "other")
    assert sqlswap.broken_golds(other, [new]) == []
    text = " ".join([new["question"], *new["golds"]]).lower()
    assert "tractor" not in text
    assert "farmer" not in text
    assert new["question"].startswith("How many ")
    assert "Anna" in new["question"]
    assert len(other.gold("db/a.sqlite", new["golds"][0]).rows) == 1
    noun = other.connection("db/a.sqlite").execute("SELECT name FROM sqlite_master").fetchone()[0]
    assert f"How many {noun}s has each" in new["question"]


def test_a_plural_a_capital_and_a_short_form_follow_their_noun() -> None:
    swap = sqlswap.Swap(["Mechanic", "mech_id", "repairJob"], ["The repairing mechanics of a job?"])
    noun = swap.nouns["mechanic"]
    assert "repair" not in swap.nouns
    assert swap.text("Mechanics and a MECHANIC") == f"{noun.capitalize()}s and a {noun.upper()}"
    assert swap.text("mech_id") == f"{noun[:4]}_id"
    assert swap.text("the SELECT of it") == "the SELECT of it"


def test_the_scan_finds_names_and_values_but_no_common_words_and_no_docstrings(data: Data, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "good.py").write_text('"""About a tractor."""\nRULE = {"name": "city", "12": "id"}\n')
    assert sqlscan.known(data.folder, package) == []
    (package / "bad.py").write_text('NOUNS = """ox tractor""".split()\nWHO = f"{1} Anna Tractor"\nC = "farmerName"\n')
    assert {(literal.line, part) for literal, part in sqlscan.known(data.folder, package)} == {
        (1, "tractor"), (2, "anna tractor"), (2, "tractor"), (3, "farmername"),
    }  # fmt: skip


def test_a_scripted_model_is_the_same_every_time_and_neither_always_right_nor_wrong() -> None:
    rows = [row(id=f"q/{number}", golds=[f"SELECT {number} FROM tractor WHERE id = 3"]) for number in range(60)]
    model = sqlmodel.ScriptedModel(rows)
    assert [model(one) for one in rows] == [sqlmodel.ScriptedModel(rows)(one) for one in rows]
    assert [model(one) for one in rows] != [sqlmodel.ScriptedModel(rows, seed=2)(one) for one in rows]
    right = sum(sqlmodel.undressed(model.alone(one)) == one["golds"][0] for one in rows)
    assert 15 < right < 45
    assert all(len(model(one)) == sqlmodel.COUNT for one in rows)


def test_every_planted_statement_reads_and_has_its_rule(data: Data) -> None:
    planted = [one for one in sqlplanted.rows(data) if one["kind"] != "tpc-h"]
    assert len(planted) == 40
    assert {one["kind"] for one in planted} <= set(RULES)
    assert all(sqlplanted.ddl(one["schema"]).startswith("CREATE TABLE") for one in planted)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ("SELECT visit_id FROM visit WHERE room = 4", "right"),
        ("SELECT visit_id FROM visit WHERE room = 5", "wrong"),
        ("SELECT visit_id FROM (SELECT DISTINCT visit_id, room FROM visit) AS v WHERE room + 10 = 14", "wrong"),
        (None, "refused"),
    ],
)
def test_a_rewrite_is_held_against_copies_of_the_benchs_own(
    data: Data, monkeypatch: pytest.MonkeyPatch, after: str | None, verdict: str
) -> None:
    before = "SELECT visit_id FROM visit WHERE room + 10 = 14"
    found = Answer("optimize", "postgres", after or before, 0.9, is_verified=True)
    changes = (Change("moved", "a", "b", "c"),) if after else ()
    monkeypatch.setattr(sqlplanted, "tried", lambda _task: (_with(found, changes), "", 1.0))
    asked = {"id": "o", "kind": "moved_arithmetic", "dialect": "postgres", "schema": "clinic", "sql": before}
    assert sqlplanted.optimized(data, asked).verdict == verdict


def _with(found: Answer, changes: tuple[Change, ...]) -> Answer:
    return Answer(found.action, found.dialect, found.sql, 0.9, is_verified=True, changes=changes)


def test_an_action_that_is_not_there_says_so() -> None:
    with pytest.raises(ImportError):
        sqlcases.action_named("nothing")


def test_a_task_of_the_bench_runs_through(data: Data) -> None:
    found, words, ms = sqlcases.tried(Task("explain", "SELECT COUNT(*) FROM tractor", "sqlite", schema=DDL))
    assert found is not None
    assert (words, found.explanation.facts.tables) == ("", ("tractor",))
    assert ms > 0
