"""The Redis that a case goes through is there until its end, or there is no result."""

from pathlib import Path

import pytest
import stores
from measure import NotReady

pytestmark = pytest.mark.stores


def test_a_redis_that_has_ended_ends_the_run(tmp_path: Path) -> None:
    with stores.redis(tmp_path) as redis:
        redis.ensure_alive()
        redis.process.kill()
        redis.process.wait()
        with pytest.raises(NotReady, match="in the middle of the run"):
            redis.ensure_alive()
