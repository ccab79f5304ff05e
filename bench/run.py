"""Measures the service against its peers on this machine.

    python bench/run.py                                  everything, some minutes; writes the result and the page
    python bench/run.py --quick                          one short round, printed only
    python bench/run.py --only aiservice,litellm --cases proxied

All targets of a run are up at once, and each case goes round them in turn (A B C, A B C, ...), so that a
machine that gets slower or faster meanwhile does so for all of them. A whole run writes a file to
bench/results and renews docs/benchmarks.md; a partial or quick one writes to .cache/bench only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import measure
import msgspec
import report
import result
import stores
from cases import CASES, CROWD, Case
from engine import WORD_MARK
from load import GRACE_S, Order, Tally
from machine import git_state, machine_facts, tool_versions
from measure import NotReady, Server
from peers import Absent
from result import Fleet, Result, Sample, TargetFacts
from targets import FLEET_WORKERS, TARGETS, Place, Target

ROOT = Path(__file__).resolve().parents[1]
SETTLE_S = 1.0
WARM_S = 1.0
PLAIN_MARK = "isolated process"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run and for how long."""

    targets: tuple[Target, ...]
    cases: tuple[Case, ...]
    rounds: int
    starts: int
    duration_s: float
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Live:
    """A target's running server and the key to it."""

    target: Target
    place: Place
    server: Server
    key: str


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def drive(live: Live, case: Case, *, concurrency: int, duration_s: float) -> Tally:
    """One run of the load driver, as a process of its own."""
    ask = live.target.ask(case, live.place, live.key)
    order = Order(
        port=live.place.port,
        path=ask.path,
        headers=dict(ask.headers),
        body=json.dumps(ask.body),
        concurrency=concurrency,
        duration_s=duration_s,
        mark=WORD_MARK if case.is_stream else PLAIN_MARK,
        words_per_stream=case.tokens,
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "load.py")],
        input=msgspec.json.encode(order),
        stdout=subprocess.PIPE,
        check=True,
        timeout=duration_s + GRACE_S + 10,
    )
    return msgspec.json.decode(done.stdout, type=Tally)


def sample(live: Live, case: Case, number: int, duration_s: float, *, crowd: bool = False) -> Sample:
    """Drives a target and takes its CPU time, memory and the engine's count around it."""
    calls = measure.engine_calls(live.place.engine_port)
    cpu_s = measure.cpu_s(live.server.pid)
    tally = drive(live, case, concurrency=CROWD if crowd else case.concurrency, duration_s=duration_s)
    taken = Sample(
        target=live.target.name,
        case=case.name,
        round=number,
        crowd=crowd,
        requests=tally.requests,
        words=tally.words,
        events=tally.events,
        duration_s=tally.duration_s,
        errors=tally.errors,
        cpu_s=measure.cpu_s(live.server.pid) - cpu_s,
        p50_ms=tally.p50_ms,
        p99_ms=tally.p99_ms,
        first_word_p50_ms=tally.first_word_p50_ms,
        engine_calls=measure.engine_calls(live.place.engine_port) - calls,
        pss_bytes=measure.pss_bytes(live.server.pid),
    )
    say(line(taken, case.unit))
    return taken


def line(taken: Sample, unit: str) -> str:
    """One sample for the eye of whoever waits."""
    cost = f"{report.number(taken.cpu_us(unit)):>7} us per {unit}"
    return f"  {taken.case:8} {taken.target:12} {cost}, {taken.rate(unit):7.0f}/s {taken.errors or ''}"


@contextmanager
def engine() -> Iterator[int]:
    """The mock engine; yields its port."""
    command = [sys.executable, str(ROOT / "bench" / "engine.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def place(scratch: Path, name: str, *, engine_port: int, redis_port: int) -> Place:
    folder = scratch / name
    folder.mkdir()
    return Place(ROOT, folder, measure.free_port(), engine_port=engine_port, redis_port=redis_port)


def prepare(target: Target) -> TargetFacts:
    """Installs a target; a peer that cannot be installed becomes a row that says why."""
    facts = TargetFacts(
        name=target.name,
        title=target.title,
        note=target.note,
        versions=target.versions(ROOT),
        absent_cases=dict(target.absent_cases),
    )
    try:
        target.install(ROOT)
    except Absent as reason:
        facts.absent = str(reason)
    return facts


class Bench:
    """One run: the servers that are up, and what was measured."""

    def __init__(self, plan: Plan, scratch: Path, stack: ExitStack) -> None:
        self._plan = plan
        self._scratch = scratch
        self._engine_port = stack.enter_context(engine())
        self._redis = stack.enter_context(stores.redis(scratch))
        self._stack = stack
        self._live: dict[tuple[str, str], Live] = {}
        self.facts: dict[str, TargetFacts] = {}
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Installs and starts every server that a case of this run needs."""
        for target in self._plan.targets:
            say(f"{target.name}: preparing")
            facts = self.facts[target.name] = prepare(target)
            variants = {target.variants[case.name] for case in self._plan.cases if case.name in target.variants}
            for variant in sorted(variants):
                if not facts.absent:
                    self._start(target, variant, facts)

    def _start(self, target: Target, variant: str, facts: TargetFacts) -> None:
        try:
            for number in range(self._plan.starts):
                spot = self._place(f"{target.name}-{variant}-{number}")
                server = measure.start(target.launch(spot, variant), spot.port)
                facts.starts_s.append(server.start_s)
                if number < self._plan.starts - 1:
                    server.stop()
        except (NotReady, OSError) as reason:
            facts.absent = str(reason)
            say(f"{target.name}: {reason}")
            return
        self._stack.callback(server.stop)
        time.sleep(SETTLE_S)
        facts.idle_pss_bytes = max(facts.idle_pss_bytes, measure.pss_bytes(server.pid))
        self._live[target.name, variant] = Live(target, spot, server, target.make_key(spot.port))

    def rounds(self) -> None:
        """Every case in turn over every target, round by round, then once with a crowd."""
        for case in self._plan.cases:
            lives = self._lives(case)
            for live in lives:
                drive(live, case, concurrency=case.concurrency, duration_s=WARM_S)
            for number in range(self._plan.rounds):
                say(f"{case.name}, round {number + 1}")
                duration_s = self._plan.duration_s * case.duration_factor
                self.samples += [sample(live, case, number, duration_s) for live in lives]
        for case in self._plan.cases:
            if not case.is_stream:
                say(f"{case.name}, {CROWD} connections")
                lives = self._lives(case)
                self.samples += [sample(live, case, 0, self._plan.duration_s, crowd=True) for live in lives]
        self._redis.ensure_alive()

    def _place(self, name: str) -> Place:
        return place(self._scratch, name, engine_port=self._engine_port, redis_port=self._redis.port)

    def _lives(self, case: Case) -> list[Live]:
        keys = [(t.name, t.variants[case.name]) for t in self._plan.targets if case.name in t.variants]
        return [self._live[key] for key in keys if key in self._live]

    def fleet(self) -> Fleet | None:
        """The service with its workers and supervisor; None when it is not part of this run."""
        target = next((row for row in self._plan.targets if row.name == "aiservice"), None)
        if target is None or self.facts[target.name].absent:
            return None
        spot = self._place("fleet")
        server = measure.start(target.launch(spot, "fleet"), spot.port)
        self._stack.callback(server.stop)
        live = Live(target, spot, server, target.make_key(spot.port))
        time.sleep(SETTLE_S)
        idle = measure.pss_bytes(server.pid)
        proxied = next(case for case in CASES if case.name == "proxied")
        drive(live, proxied, concurrency=CROWD, duration_s=self._plan.duration_s)
        processes = len(measure.tree(server.pid))
        return Fleet(FLEET_WORKERS, processes, server.start_s, idle, measure.pss_bytes(server.pid))


def carry_out(plan: Plan) -> Result:
    taken_at = datetime.now(UTC).isoformat(timespec="seconds")
    commit, is_dirty = git_state(ROOT)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        bench = Bench(plan, Path(scratch), stack)
        bench.start()
        bench.rounds()
        fleet = bench.fleet()
    return Result(
        taken_at=taken_at,
        commit=commit,
        is_dirty=is_dirty,
        duration_s=plan.duration_s,
        rounds=plan.rounds,
        machine=machine_facts(),
        versions=tool_versions() | {"Redis": stores.redis_version()},
        targets=list(bench.facts.values()),
        samples=bench.samples,
        fleet=fleet,
    )


def result_path(outcome: Result, plan: Plan) -> Path:
    folder = ROOT / "bench" / "results" if plan.is_whole else ROOT / ".cache" / "bench" / "results"
    return folder / f"{outcome.taken_at[:10]}-{outcome.commit}.json"


def chosen(text: str, names: Sequence[str], what: str) -> list[str]:
    """The names in a comma-separated list, in the table's order; all for an empty one."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise SystemExit(f"no {what} {', '.join(unknown)}; there are {', '.join(names)}")
    return [name for name in names if not wanted or name in wanted]


def parse(arguments: Sequence[str]) -> Plan:
    parser = argparse.ArgumentParser(description="Measures the service against its peers on this machine.")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s per case, not kept")
    parser.add_argument("--only", default="", help="targets, comma-separated")
    parser.add_argument("--cases", default="", help="cases, comma-separated")
    parser.add_argument("--rounds", type=int, default=0, help="default 3, quick 1")
    parser.add_argument("--seconds", type=float, default=0, help="per case and round; default 4, quick 2")
    given = parser.parse_args(arguments)
    targets = chosen(given.only, [target.name for target in TARGETS], "target")
    cases = chosen(given.cases, [case.name for case in CASES], "case")
    return Plan(
        targets=tuple(target for target in TARGETS if target.name in targets),
        cases=tuple(case for case in CASES if case.name in cases),
        rounds=given.rounds or (1 if given.quick else 3),
        starts=1 if given.quick else 3,
        duration_s=given.seconds or (2.0 if given.quick else 4.0),
        is_whole=not (given.quick or given.only or given.cases),
    )


def main() -> None:
    plan = parse(sys.argv[1:])
    subprocess.run([sys.executable, "-m", "compileall", "-q", "aiservice", "bench"], cwd=ROOT, check=False)
    outcome = carry_out(plan)
    path = result_path(outcome, plan)
    result.write(outcome, path)
    print(report.tables(outcome))
    if plan.is_whole:
        report.renew(ROOT, path)
    say(f"raw figures: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
