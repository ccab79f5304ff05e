"""The vendors' own clients against the running service, with the scripted engine; plain tests with the real model too.

A class of standard tests names in `NOT_PASSED` those that do not pass and why. Exactly those may fail or skip: one of
them that passes is a failure, and so is a skip that is not named.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from tests.clients.named import hold_to
from tests.clients.services import REAL_MODEL, Service, serving, wait_loaded

_MARKS = (frozenset({"clients"}), frozenset({"clients", "real"}), frozenset({"clients", "slow"}))


@dataclass(frozen=True)
class Place:
    """Where a client asks: the service, a key, a model for chat and one for embeddings."""

    service: Service
    key: str
    model: str
    embedder: str

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def v1(self) -> str:
        return f"{self.service.url}/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The clients are not there, and take seconds to import, where these tests are not chosen."""
    chosen = config.getoption("markexpr")
    is_chosen = not chosen or any(Expression.compile(chosen).evaluate(_has(marks)) for marks in _MARKS)
    return None if is_chosen or collection_path.suffix != ".py" else True


def pytest_configure(config: pytest.Config) -> None:
    for mark in ("vcr", "benchmark"):
        config.addinivalue_line("markers", f"{mark}: of langchain-tests, whose recordings are not used here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if isinstance(item, pytest.Function) and item.cls is not None and report.when != "teardown":
        named: Mapping[str, str] = getattr(item.cls, "NOT_PASSED", {})
        hold_to(report, item.originalname, named)
    return report


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the scripted engine alone."""
    with serving(tmp_path_factory.mktemp("scripted")) as service:
        yield service


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the embedded models."""
    with serving(tmp_path_factory.mktemp("real"), EMBEDDED_MODEL="smollm2", DEFAULT_MODEL=REAL_MODEL) as service:
        wait_loaded(service, "chat", "embed")
        yield service


@pytest.fixture(scope="module")
def scripted_place(scripted: Service) -> Place:
    return Place(scripted, scripted.new_key(), "echo", "embed")


@pytest.fixture(scope="module")
def real_place(real: Service) -> Place:
    embedder = next(model["name"] for model in real.models() if "embed" in model["capabilities"])
    return Place(real, real.new_key(), REAL_MODEL, embedder)


@pytest.fixture(params=["scripted_place", pytest.param("real_place", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> Place:
    """Both: for what every model can do."""
    found: Place = request.getfixturevalue(request.param)
    return found


def _has(marks: frozenset[str]):
    return lambda name, **_: name in marks
