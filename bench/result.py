"""The result file: every single measurement, the machine and the versions it was made with."""

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one case against one target. `crowd` marks the passes at 256 connections.

    `events` are those of a stream with words in them, 0 where they were not counted.
    """

    target: str
    case: str
    round: int
    crowd: bool
    requests: int
    words: int
    duration_s: float
    errors: dict[str, int]
    cpu_s: float
    p50_ms: float
    p99_ms: float
    first_word_p50_ms: float
    engine_calls: int
    pss_bytes: int
    events: int = 0

    def cpu_us(self, unit: str) -> float | None:
        """CPU microseconds per request or token; None when nothing was answered."""
        units = self.words if unit == "token" else self.requests
        return self.cpu_s * 1e6 / units if units else None

    @property
    def tokens_an_event(self) -> float | None:
        """How many words came in one event: more than 1 where a target puts several together."""
        return self.words / self.events if self.events else None

    def rate(self, unit: str) -> float:
        units = self.words if unit == "token" else self.requests
        return units / self.duration_s if self.duration_s else 0.0


class TargetFacts(msgspec.Struct, kw_only=True):
    """What is known of a target beside its samples. `absent` says why it did not run."""

    name: str
    title: str
    note: str
    versions: dict[str, str]
    absent: str = ""
    absent_cases: dict[str, str] = {}
    starts_s: list[float] = []
    idle_pss_bytes: int = 0


class Fleet(msgspec.Struct, frozen=True):
    """The service with several workers: all processes together, supervisor included."""

    workers: int
    processes: int
    start_s: float
    idle_pss_bytes: int
    loaded_pss_bytes: int


class Result(msgspec.Struct, kw_only=True):
    taken_at: str
    commit: str
    is_dirty: bool
    duration_s: float
    rounds: int
    machine: dict[str, str]
    versions: dict[str, str]
    targets: list[TargetFacts]
    samples: list[Sample]
    fleet: Fleet | None = None

    def of(self, target: str, case: str, *, crowd: bool = False) -> list[Sample]:
        return [s for s in self.samples if (s.target, s.case, s.crowd) == (target, case, crowd)]


def median(samples: Iterable[Sample], value: Callable[[Sample], float | None]) -> float | None:
    """The median of a value over the samples that have it."""
    values = [number for sample in samples if (number := value(sample)) is not None]
    return statistics.median(values) if values else None


def write(result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read(path: Path) -> Result:
    return msgspec.json.decode(path.read_bytes(), type=Result)


def newest(folder: Path) -> Path | None:
    """The result file that was taken last; None when there is none."""
    paths = list(folder.glob("*.json"))
    return max(paths, key=lambda path: read(path).taken_at) if paths else None
