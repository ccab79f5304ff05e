"""Writes docs/benchmarks.md from a result file.

python bench/report.py [bench/results/FILE.json]      without a file: the newest
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from cases import CASES, CROWD, Case
from result import Result, Sample, TargetFacts, median, newest, read

OURS = "aiservice"
PAGE = Path("docs") / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

What a request costs in CPU time, the service beside its peers, measured in one run on one machine.
This page is written by `bench/report.py` from `{source}`; do not edit it.
"""

RATIO_NOTE = """\
How many times the CPU time of AI Service the other needs for the same work (median of {rounds} rounds).
Below 1 the other is cheaper: bare ASGI does none of the work of a gateway and shows what is left to gain.
"""

AGAIN = """\
## Run it again

```sh
make bench
```

The first run installs the peers from `bench/requirements-litellm.txt` (hash-locked) and
`bench/portkey/package-lock.json`, each into a folder of its own under `.cache/bench`; a peer that cannot be
installed or started stays in the tables with the reason. It needs Linux (the figures come from `/proc`), and
for Portkey Node. `python bench/run.py --quick` prints a first impression and keeps nothing;
`--only aiservice,litellm --cases proxied` measures a part.
"""

NOTES = """\
## How it is measured, and what it does not say

- CPU time is user + system of the target's whole process tree over the whole run, divided by the requests (or
  tokens) answered: the median of the rounds, with the lowest and highest in brackets. A ratio is no more exact
  than these are. The load driver and the mock engine share the cores with the target, so the rates seen are
  lower bounds and the latencies upper bounds.
- All targets get the same prompt, the same mock engine on loopback (569-byte answers; streams of words that all
  differ, with usage when asked) and one worker. Cases go round the targets in turn, so drift hits all alike.
- Every answer is checked: status and content; of streams each event is parsed, its tokens are counted and all must
  be there, and the last event must be `[DONE]`. The engine's own count shows which requests reached it: 0 a request
  for cached answers, 1 for all others.
- A target that cannot keep the pace of 40 streams reads several tokens at once, which makes each cheaper: the
  row with 4 streams is the one that all can carry.
- What is switched on differs. AI Service checks a key, a rate limit in SQLite and writes a usage record for each
  request; its cache is a SQLite file that all workers share. LiteLLM runs with a master key and no database, so
  that its keys, budgets and spend records cost nothing here, and its cache is a dictionary in the process.
  Portkey checks no key. Peers with those parts on were not measured.
- Through Redis, AI Service asks it twice for each request: for the limit and for the entry. LiteLLM asks it once, for
  the entry. The Redis server's own CPU time is in no figure.
- The peers' versions are those of the lock files, not the newest; newer ones were not measured.
- Portkey runs with `@hono/node-server` 1.14.1, the last version with which it streams. With any later one, among
  them those that its own package installs today, it answers every stream with status 500: the headers of the
  engine's answer, which it adds to, have been immutable since (its issue 1389).
- Memory is PSS: private pages, plus each shared page divided by the processes that share it.
- Start-up is the time from exec to the first 200 of the health route, with compiled files in place.
- Gateways written in Rust or Go publish proxied rates that a Python gateway will not reach; none is measured here.
"""


def number(value: float | None) -> str:
    """Three significant digits, thousands with a comma; "-" for none."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cost(result: Result, target: str, case: Case) -> float | None:
    """Median CPU microseconds per request or token."""
    return median(result.of(target, case.name), lambda sample: sample.cpu_us(case.unit))


def ratio(result: Result, target: str, case: Case) -> str:
    theirs, ours = cost(result, target, case), cost(result, OURS, case)
    return f"{number(theirs / ours)}x" if theirs and ours else "-"


def cases_of(result: Result) -> list[Case]:
    measured = {sample.case for sample in result.samples}
    return [case for case in CASES if case.name in measured]


def ratios(result: Result) -> str:
    others = [facts for facts in result.targets if facts.name != OURS]
    rows = [[case.title, *(ratio(result, facts.name, case) for facts in others)] for case in cases_of(result)]
    rows.append(["memory after load", *(_share(result, facts, loaded_mb) for facts in others)])
    rows.append(["start to first 200", *(_share(result, facts, start_s) for facts in others)])
    return table(["CPU time against AI Service", *(facts.title for facts in others)], rows)


def _share(result: Result, facts: TargetFacts, value: Callable[[Result, TargetFacts], float | None]) -> str:
    own = next((row for row in result.targets if row.name == OURS), None)
    ours = value(result, own) if own else None
    theirs = value(result, facts)
    return f"{number(theirs / ours)}x" if theirs and ours else "-"


def start_s(_result: Result, facts: TargetFacts) -> float | None:
    ordered = sorted(facts.starts_s)
    return ordered[len(ordered) // 2] if ordered else None


def loaded_mb(result: Result, facts: TargetFacts) -> float | None:
    """The largest memory seen right after a run, MB."""
    seen = [sample.pss_bytes for sample in result.samples if sample.target == facts.name]
    return max(seen) / 1e6 if seen else None


def figures(result: Result, case: Case, *, crowd: bool = False) -> str:
    """One case: a row per target, or why there is none."""
    first = "first token p50 ms" if case.is_stream else "p50 ms"
    head = ["target", f"CPU us per {case.unit}", f"{case.unit}s/s of one core", f"{case.unit}s/s seen"]
    rows = [_row(result, facts, case, crowd=crowd) for facts in result.targets]
    events = ["tokens an event"] if case.is_stream else []
    return table([*head, *events, first, "p99 ms", "errors", "engine calls"], rows)


def _row(result: Result, facts: TargetFacts, case: Case, *, crowd: bool) -> list[str]:
    samples = result.of(facts.name, case.name, crowd=crowd)
    if not samples:
        return [
            facts.title,
            *["-"] * (6 if case.is_stream else 5),
            facts.absent_cases.get(case.name) or facts.absent or "not run",
            "-",
        ]
    cpu = median(samples, lambda sample: sample.cpu_us(case.unit))
    first = median(samples, lambda sample: sample.first_word_p50_ms if case.is_stream else sample.p50_ms)
    return [
        facts.title,
        number(cpu) + spread(samples, case),
        number(1e6 / cpu if cpu else None),
        number(median(samples, lambda sample: sample.rate(case.unit))),
        *([number(median(samples, lambda sample: sample.tokens_an_event))] if case.is_stream else []),
        number(first if cpu else None),
        number(median(samples, lambda sample: sample.p99_ms) if cpu else None),
        errors(samples),
        _engine_calls(samples),
    ]


def spread(samples: list[Sample], case: Case) -> str:
    """The lowest and highest round, where there is more than one."""
    costs = [cost for sample in samples if (cost := sample.cpu_us(case.unit)) is not None]
    return f" ({number(min(costs))} to {number(max(costs))})" if len(costs) > 1 else ""


def errors(samples: list[Sample]) -> str:
    """How many requests failed, and of what."""
    kinds = sorted({kind for sample in samples for kind in sample.errors})
    counted = [f"{sum(sample.errors.get(kind, 0) for sample in samples):,} x {kind}" for kind in kinds]
    return ", ".join(counted) or "0"


def _engine_calls(samples: list[Sample]) -> str:
    sent = sum(sample.requests + sum(sample.errors.values()) for sample in samples)
    return f"{sum(sample.engine_calls for sample in samples) / sent:.2f}" if sent else "-"


def resources(result: Result) -> str:
    rows = [
        [
            facts.title,
            number(facts.idle_pss_bytes / 1e6 or None),
            number(loaded_mb(result, facts)),
            number(start_s(result, facts)),
            facts.absent or facts.note,
        ]
        for facts in result.targets
    ]
    text = table(["target", "idle MB", "after load MB", "start s", "set up as"], rows)
    if result.fleet is None:
        return text
    fleet = result.fleet
    return text + (
        f"\nAI Service with {fleet.workers} workers ({fleet.processes} processes, supervisor included): "
        f"{number(fleet.idle_pss_bytes / 1e6)} MB idle, {number(fleet.loaded_pss_bytes / 1e6)} MB after load, "
        f"ready in {number(fleet.start_s)} s.\n"
    )


def facts(result: Result) -> str:
    state = " with changes that are not committed" if result.is_dirty else ""
    lines = [f"- Taken {result.taken_at} at commit {result.commit}{state}; {result.rounds} rounds of "]
    lines[0] += f"{result.duration_s:g} s for each case and target (twice that where 4 streams run)."
    lines.append("- Machine: " + ", ".join(f"{name} {value}" for name, value in result.machine.items()))
    lines.append("- Runs on: " + ", ".join(f"{name} {value}" for name, value in result.versions.items()))
    for row in result.targets:
        lines.append(f"- {row.title}: " + ", ".join(f"{name} {value}" for name, value in row.versions.items()))
    return "\n".join(lines) + "\n"


def tables(result: Result) -> str:
    """Ratios first, then every figure."""
    parts = ["## Ratios\n", RATIO_NOTE.format(rounds=result.rounds), ratios(result), "## Figures\n"]
    for case in cases_of(result):
        parts += [f"### {case.title[0].upper()}{case.title[1:]}\n", figures(result, case)]
        if any(sample.crowd and sample.case == case.name for sample in result.samples):
            parts += [f"The same with {CROWD} connections:\n", figures(result, case, crowd=True)]
    parts += ["## Memory and start-up\n", resources(result), "## Machine and versions\n", facts(result)]
    return "\n".join(parts)


def page(result: Result, source: str) -> str:
    return "\n".join([INTRODUCTION.format(source=source), tables(result), AGAIN, NOTES])


def renew(root: Path, source: Path) -> None:
    """Writes the page from a result file under `root`."""
    path = root / PAGE
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(read(source), source.relative_to(root).as_posix()))


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    source = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else newest(root / "bench" / "results")
    if source is None:
        raise SystemExit("bench/results holds no result yet; run `make bench`")
    renew(root, source)


if __name__ == "__main__":
    main()
