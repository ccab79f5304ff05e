"""Scores SQL assist on a folder of cases: one table by class for each action, with CPU times and the goals beside them.

    python bench/sql.py --data PATH                        all actions
    python bench/sql.py --data PATH --action fix           one of generate, fix, explain, optimize, safety, abstain
    python bench/sql.py --data PATH --action fix --failures        and every row that is not right
    python bench/sql.py --data PATH --action fix --only mutant     only rows whose id or class has this in it
    python bench/sql.py --data PATH --swap                 generate with other nouns everywhere, and the difference
    python bench/sql.py --data PATH --model                generate: machine alone, scripted model alone, both
    python bench/sql.py --data PATH --scan                 strings of the package that the data has too

Times are CPU milliseconds of one process; opening the database and reading its schema are in them.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlcases
import sqlmodel
import sqlplanted
import sqlscan
import sqlswap
from report import table
from sqlcases import Data, Score, percentile

ACTIONS = ("generate", "abstain", "fix", "explain", "optimize", "safety")
VERDICTS = ("right", "wrong", "refused", "broken")
COVERAGE = 0.25
SWAP_POINTS = 5
Goal = tuple[str, float, float, Callable[[float, float], bool]]


def scores_of(data: Data, action: str, only: str = "", progress: bool = False) -> list[Score]:
    """Every row of the action's files, in turn."""
    score = SCORERS[action]
    listed = sqlplanted.rows(data) if action == "optimize" else data.rows(action)
    rows = [row for row in listed if only in row["id"] or only in str(row.get("kind", ""))]
    found = []
    for number, row in enumerate(rows):
        found.append(score(data, row))
        if progress and number % 20 == 19:
            print(f"{action}: {number + 1} of {len(rows)}", file=sys.stderr, flush=True)
    return found


SCORERS: Mapping[str, Callable[[Data, Mapping[str, Any]], Score]] = {
    "generate": sqlcases.generated,
    "abstain": sqlcases.abstained,
    "fix": sqlcases.fixed,
    "explain": sqlcases.explained,
    "optimize": sqlplanted.optimized,
    "safety": sqlcases.gated,
}


def by_class(scores: Sequence[Score]) -> str:
    """One line a class, the last for all."""
    kinds = sorted({score.kind for score in scores})
    lines = [_line(kind, [score for score in scores if score.kind == kind]) for kind in kinds]
    if len(kinds) > 1:
        lines.append(_line("all", scores))
    return table(["class", "rows", *VERDICTS, "right %", "p50 ms", "p95 ms"], lines)


def _line(name: str, scores: Sequence[Score]) -> list[str]:
    counts = [sum(score.verdict == verdict for score in scores) for verdict in VERDICTS]
    times = [score.ms for score in scores]
    middle = statistics.median(times) if times else 0.0
    return [
        name,
        str(len(scores)),
        *map(str, counts),
        f"{percent(counts[0], len(scores)):.1f}",
        f"{middle:.1f}",
        f"{percentile(times, 0.95):.1f}",
    ]


def percent(part: float, whole: float) -> float:
    """0 of nothing."""
    return 100 * part / whole if whole else 0.0


def right_percent(scores: Sequence[Score], kind: str = "") -> float:
    chosen = [score for score in scores if score.kind.startswith(kind)]
    return percent(sum(score.verdict == "right" for score in chosen), len(chosen))


def at_most(value: float, goal: float) -> bool:
    return value <= goal


def at_least(value: float, goal: float) -> bool:
    return value >= goal


def goals_of(action: str, scores: Sequence[Score]) -> list[Goal]:
    """What is measured against a goal: its name, the figure, the goal."""
    p95_ms = percentile([score.ms for score in scores], 0.95)
    invalid = float(sum(score.is_invalid for score in scores))
    match action:
        case "generate":
            verified = [score for score in scores if score.is_verified]
            wrong = percent(sum(score.verdict == "wrong" for score in scores), len(scores))
            return [
                ("right %", right_percent(scores), 35, at_least),
                ("wrong %", wrong, 20, at_most),
                ("verified, of all %", percent(len(verified), len(scores)), 100 * COVERAGE, at_least),
                ("verified that are right %", right_percent(verified), 95, at_least),
                ("surest quarter that is right %", right_percent(surest(scores, COVERAGE)), 95, at_least),
                ("do not parse or name what is not there", invalid, 0, at_most),
                ("p95 ms", p95_ms, 100, at_most),
            ]
        case "abstain":
            return [("refused %", right_percent(scores), 85, at_least)]
        case "fix":
            kinds = (("mutant", 98.0), ("dialect", 60.0), ("model", 25.0))
            listed: list[Goal] = [
                (f"{kind} right %", right_percent(scores, kind), goal, at_least) for kind, goal in kinds
            ]
            return [
                *listed,
                ("do not parse or name what is not there", invalid, 0, at_most),
                ("p95 ms", p95_ms, 100, at_most),
            ]
        case "explain":
            total = {name: sum(score.counts.get(name, 0) for score in scores) for name in ("facts", "named", "false")}
            return [
                ("facts named %", percent(total["named"], total["facts"]), 98, at_least),
                ("false facts", total["false"], 0, at_most),
                ("p95 ms", p95_ms, 50, at_most),
            ]
        case "optimize":
            return [
                ("rewrites with other results", sum(score.counts.get("other", 0) for score in scores), 0, at_most),
                ("dearer rewrites", sum(score.counts.get("dearer", 0) for score in scores), 0, at_most),
                ("planted ones improved %", right_percent(scores, "planted"), 80, at_least),
                ("p95 ms", p95_ms, 300, at_most),
            ]
        case "safety":
            refused = [score for score in scores if score.kind == "allow"]
            return [
                ("writes let through", sum(s.kind == "refuse" and s.verdict != "right" for s in scores), 0, at_most),
                ("harmless reads refused %", 100 - right_percent(refused) if refused else 0.0, 5, at_most),
            ]
    return []


def surest(scores: Sequence[Score], share: float) -> list[Score]:
    """The answers of highest confidence, as many as this share of all rows; verified ones first."""
    answers = sorted((s for s in scores if s.sql), key=lambda s: (s.is_verified, s.confidence), reverse=True)
    return answers[: round(share * len(scores))]


def goal_lines(goals: Sequence[Goal]) -> str:
    words = {at_least: "at least", at_most: "at most"}
    return table(
        ["goal", "measured", "asked", "met"],
        [[n, f"{v:.1f}", f"{words[holds]} {g:g}", "yes" if holds(v, g) else "NO"] for n, v, g, holds in goals],
    )


def failures(scores: Sequence[Score]) -> str:
    """What is not right, for working on it."""
    return "\n".join(
        f"{score.verdict} {score.kind} {score.id} conf={score.confidence:.2f} verified={score.is_verified}\n"
        f"    {score.sql}\n    {score.note}"
        for score in scores
        if score.verdict != "right"
    )


def report(action: str, scores: Sequence[Score], *, with_failures: bool) -> None:
    if with_failures:
        print(failures(scores))
    print(f"\n## {action}\n\n{by_class(scores)}\n{goal_lines(goals_of(action, scores))}")


def swap(data: Data, only: str, *, with_failures: bool) -> int:
    """Scores generate as it is and with other nouns; 1 where the second is more than five points below."""
    rows = [row for row in data.rows("generate") if only in row["id"]]
    with tempfile.TemporaryDirectory(prefix="swap-") as name:
        other, other_rows = sqlswap.swapped(data, rows, Path(name))
        broken = sqlswap.broken_golds(other, other_rows)
        plain = [sqlcases.generated(data, row) for row in rows]
        changed = [sqlcases.generated(other, row) for row in other_rows]
    if with_failures:
        before = {score.id: score for score in plain}
        worse = [score for score in changed if before[score.id].verdict == "right" != score.verdict]
        questions = {row["id"]: row["question"] for row in other_rows}
        print("\n".join(f"{one.id} {one.verdict}: {questions[one.id]}\n    {one.sql}\n    {one.note}" for one in worse))
    print(f"\n## generate as it is\n\n{by_class(plain)}\n## with other nouns\n\n{by_class(changed)}")
    fall = right_percent(plain) - right_percent(changed)
    print(f"{fall:.1f} points fewer right with other nouns (at most {SWAP_POINTS}); golds broken by it: {len(broken)}")
    return int(fall > SWAP_POINTS)


def with_model(data: Data, only: str) -> int:
    """Scores the machine alone, the scripted model alone and both; 1 where both are not as good as the better."""
    rows = [row for row in data.rows("generate") if only in row["id"]]
    model = sqlmodel.ScriptedModel(data.rows("generate"))
    alone = sum(data.is_right(row, sqlmodel.undressed(model.alone(row))) for row in rows)
    machine = [sqlcases.generated(data, row) for row in rows]
    both = [sqlcases.generated(data, row, model) for row in rows]
    counts = [sum(score.verdict == "right" for score in scores) for scores in (machine, both)]
    wrong = [sum(score.verdict == "wrong" for score in scores) for scores in (machine, both)]
    lines = [
        ["machine alone", counts[0], wrong[0]],
        ["model alone", alone, len(rows) - alone],
        ["both", counts[1], wrong[1]],
    ]
    print(table(["generate", "right", "wrong"], [[str(cell) for cell in line] for line in lines]))
    invalid = sum(score.is_invalid for score in both)
    print(f"of {len(rows)}; do not parse or name what is not there: {invalid} (at most 0)")
    return int(counts[1] < max(alone, counts[0]) or invalid > 0)


def scan(folder: Path) -> int:
    """Prints each string of the package that the data has too; 1 where there is one."""
    found = sqlscan.known(folder)
    for literal, part in found:
        print(f"{literal.path.relative_to(sqlscan.PACKAGE)}:{literal.line}: {part!r}")
    print(f"{len(found)} strings of the package are of the data (at most 0)")
    return int(bool(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of cases")
    parser.add_argument("--action", choices=ACTIONS, action="append", help="may be given more than once")
    parser.add_argument("--only", default="", help="only rows whose id or class has this in it")
    parser.add_argument("--failures", action="store_true", help="print what is not right")
    parser.add_argument("--swap", action="store_true", help="generate with other nouns")
    parser.add_argument("--model", action="store_true", help="generate with a scripted model")
    parser.add_argument("--scan", action="store_true", help="look for the data in the package")
    asked = parser.parse_args()
    data = Data(asked.data)
    if not (asked.data / "schemas.json").is_file():
        parser.error(f"{asked.data} has no schemas.json")
    if asked.swap:
        return swap(data, asked.only, with_failures=asked.failures)
    if asked.model:
        return with_model(data, asked.only)
    if asked.scan:
        return scan(asked.data)
    for action in asked.action or ACTIONS:
        try:
            scores = scores_of(data, action, asked.only, progress=sys.stderr.isatty())
        except ImportError as error:
            print(f"\n## {action}\n\nnot there: {error}")
            continue
        report(action, scores, with_failures=asked.failures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
