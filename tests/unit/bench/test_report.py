"""The page says what the result file holds."""

from pathlib import Path

import pytest
import report
import result
import run
from cases import CASES, Case
from targets import TARGETS, Place

ROOT = Path(report.__file__).resolve().parents[1]


def sample(target: str, cpu_s: float, number: int = 0, **more: object) -> result.Sample:
    fields: dict[str, object] = {
        "target": target,
        "case": "proxied",
        "round": number,
        "crowd": False,
        "requests": 1_000,
        "words": 0,
        "duration_s": 2.0,
        "errors": {},
        "cpu_s": cpu_s,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "first_word_p50_ms": 0.0,
        "engine_calls": 1_000,
        "pss_bytes": 40_000_000,
        **more,
    }
    return result.Sample(**fields)  # type: ignore[arg-type]


def facts(name: str, **more: object) -> result.TargetFacts:
    return result.TargetFacts(name=name, title=name.title(), note="as it is", versions={"x": "1"}, **more)  # type: ignore[arg-type]


def outcome(*samples: result.Sample, targets: list[result.TargetFacts] | None = None) -> result.Result:
    return result.Result(
        taken_at="2026-01-02T03:04:05+00:00",
        commit="abc1234",
        is_dirty=False,
        duration_s=2,
        rounds=3,
        machine={"cores": "2"},
        versions={"python": "3.11"},
        targets=targets or [facts("aiservice"), facts("litellm")],
        samples=list(samples),
    )


def test_ratios_are_of_medians() -> None:
    ours = [sample("aiservice", cpu_s, number) for number, cpu_s in enumerate((0.2, 9.0, 0.1))]
    theirs = [sample("litellm", cpu_s, number) for number, cpu_s in enumerate((8.0, 6.0, 90.0))]
    text = report.tables(outcome(*ours, *theirs))
    assert "| proxied request | 40.0x |" in text
    assert "| Aiservice | 200 (100 to 9,000) | 5,000 | 500 | 1.00 | 2.00 | 0 | 1.00 |" in text


def test_tokens_that_come_together_are_told() -> None:
    ours = sample("aiservice", 0.2, case="paced", words=1_000, events=1_000)
    theirs = sample("litellm", 0.2, case="paced", words=1_000, events=250)
    text = report.tables(outcome(ours, theirs))
    assert "| Aiservice | 200 | 5,000 | 500 | 1.00 | " in text
    assert "| Litellm | 200 | 5,000 | 500 | 4.00 | " in text


def test_errors_are_named_and_a_failed_case_has_no_cost() -> None:
    failed = sample("litellm", 0.5, requests=0, errors={"status 500": 1_000})
    text = report.tables(outcome(sample("aiservice", 0.2), failed))
    assert "| proxied request | - |" in text
    assert "| Litellm | - | - | 0.00 | - | - | 1,000 x status 500 | 1.00 |" in text


def test_an_absent_peer_says_why() -> None:
    absent = facts("litellm", absent="not installed: no wheel")
    text = report.tables(outcome(sample("aiservice", 0.2), targets=[facts("aiservice"), absent]))
    assert text.count("not installed: no wheel") == 2


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    taken = outcome(sample("aiservice", 0.2), sample("litellm", 1.0, crowd=True))
    result.write(taken, tmp_path / "folder" / "a.json")
    assert result.read(tmp_path / "folder" / "a.json") == taken
    assert result.newest(tmp_path / "folder") == tmp_path / "folder" / "a.json"
    assert result.newest(tmp_path) is None


def test_the_page_is_that_of_the_newest_result() -> None:
    source = result.newest(ROOT / "bench" / "results")
    assert source is not None
    page = report.page(result.read(source), source.relative_to(ROOT).as_posix())
    assert (ROOT / report.PAGE).read_text() == page, "run `python bench/report.py`"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_each_target_runs_a_case_or_says_why_not(target: object) -> None:
    row = next(row for row in TARGETS if row is target)
    assert {*row.variants, *row.absent_cases} == {case.name for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_service_is_asked_in_the_words_of_its_peers(case: Case) -> None:
    place = Place(ROOT, ROOT, port=1, engine_port=2, redis_port=3)
    asks = {row.name: row.ask(case, place, "key") for row in TARGETS if case.name in row.variants}
    others = [ask for name, ask in asks.items() if name in {"litellm", "portkey"}]
    assert all((ask.path, ask.body) == (asks["aiservice"].path, asks["aiservice"].body) for ask in others)
    assert asks["native"].path == "/ai/generate"
    assert asks["native"].body["max_tokens"] == asks["aiservice"].body["max_tokens"]
    for name in ("aiservice", "native"):
        assert ("cache-control" in asks[name].headers) is not case.is_cached


def test_a_partial_run_is_not_kept() -> None:
    assert run.parse([]).is_whole
    plan = run.parse(["--only", "litellm,aiservice", "--cases", "proxied", "--quick"])
    assert [target.name for target in plan.targets] == ["aiservice", "litellm"]
    assert [case.name for case in plan.cases] == ["proxied"]
    assert not plan.is_whole


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SystemExit, match="no target nginx; there are aiservice, "):
        run.parse(["--only", "nginx"])
