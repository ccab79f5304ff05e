"""One server per event loop for the tests of a file, an application's notes and a connection for each test."""

import threading
from collections.abc import Iterator

import pytest

from tests.unit.server.wire import LOOPS, Application, Client, Running, serving


@pytest.fixture(scope="module", params=LOOPS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(request.param) as running:
        yield running


@pytest.fixture
def application(running: Running) -> Application:
    running.application.notes = []
    running.application.go = threading.Event()
    return running.application


@pytest.fixture
def client(running: Running, application: Application) -> Iterator[Client]:
    client = running.connect()
    yield client
    client.close()
