"""Metrics of one process here, of several processes in a program of their own: the choice is made at import."""

import subprocess
import sys
from pathlib import Path

import pytest

from aiservice.observe.metrics import LABEL_VALUES_MAX, Metrics
from aiservice.observe.shared import share_metrics

ROOT = Path(__file__).resolve().parents[3]


def samples(metrics: Metrics) -> dict[str, float]:
    rows = [line.rpartition(" ") for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def test_everything_is_counted_under_its_name():
    metrics = Metrics(["/ai/generate"])
    metrics.request("/ai/generate", 200, 0.02)
    metrics.tokens("m", prompt=3, completion=5)
    metrics.cache_lookup("hit")
    metrics.limit_refusal("free")
    metrics.engine_error("llamacpp", "engines.timeout")
    metrics.engine_first_token("llamacpp", 0.3)
    metrics.idempotency("replayed")
    metrics.request_opened()
    metrics.request_opened()
    metrics.request_closed()
    metrics.set_spool_bytes(17)

    found = samples(metrics)
    assert found['aiservice_requests_total{endpoint="/ai/generate",status="200"}'] == 1
    assert found['aiservice_request_seconds_bucket{endpoint="/ai/generate",le="0.01"}'] == 0
    assert found['aiservice_request_seconds_bucket{endpoint="/ai/generate",le="0.025"}'] == 1
    assert found['aiservice_request_seconds_sum{endpoint="/ai/generate"}'] == 0.02
    assert found['aiservice_tokens_total{kind="prompt",model="m"}'] == 3
    assert found['aiservice_tokens_total{kind="completion",model="m"}'] == 5
    assert found['aiservice_cache_lookups_total{result="hit"}'] == 1
    assert found['aiservice_limit_refusals_total{tier="free"}'] == 1
    assert found['aiservice_engine_errors_total{code="engines.timeout",engine="llamacpp"}'] == 1
    assert found['aiservice_engine_first_token_seconds_count{engine="llamacpp"}'] == 1
    assert found['aiservice_idempotency_total{result="replayed"}'] == 1
    assert found["aiservice_open_requests"] == 1
    assert found["aiservice_usage_spool_bytes"] == 17


def test_observations_add_up_bucket_by_bucket():
    metrics = Metrics(["/a", "/b"])
    for seconds in (0.005, 0.0051, 0.01, 120.0, 121.0):
        metrics.request("/a", 200, seconds)
    metrics.request("/b", 200, 1.0)
    metrics.flush()
    metrics.request("/a", 200, 0.25)

    found = samples(metrics)
    of_a = {
        bound: found[f'aiservice_request_seconds_bucket{{endpoint="/a",le="{bound}"}}']
        for bound in ("0.005", "0.01", "0.1", "0.25", "60.0", "120.0", "+Inf")
    }
    assert of_a == {"0.005": 1, "0.01": 3, "0.1": 3, "0.25": 4, "60.0": 4, "120.0": 5, "+Inf": 6}
    assert found['aiservice_request_seconds_count{endpoint="/a"}'] == 6
    assert found['aiservice_request_seconds_sum{endpoint="/a"}'] == pytest.approx(241.2701)
    assert found['aiservice_request_seconds_sum{endpoint="/b"}'] == 1


def test_an_unknown_endpoint_is_other():
    metrics = Metrics(["/ai/generate"])
    for number in range(3):
        metrics.request(f"/wp-admin/{number}", 404, 0.001)

    assert samples(metrics)['aiservice_requests_total{endpoint="other",status="404"}'] == 3


def test_model_names_do_not_become_labels_without_bound():
    metrics = Metrics()
    for number in range(LABEL_VALUES_MAX * 3):
        metrics.tokens(f"model-{number}", prompt=1, completion=1)

    counted = {name: value for name, value in samples(metrics).items() if name.startswith("aiservice_tokens_total")}
    assert len(counted) == (LABEL_VALUES_MAX + 1) * 2
    assert counted['aiservice_tokens_total{kind="prompt",model="other"}'] == LABEL_VALUES_MAX * 2
    assert counted['aiservice_tokens_total{kind="completion",model="model-0"}'] == 1


def test_what_stores_count_is_counted_on_and_never_back():
    metrics = Metrics()
    for failures, is_up in ((0, True), (3, False), (3, False), (5, True)):
        metrics.stores.store("limits", is_up=is_up, failures=failures)
    metrics.stores.store("cache", is_up=False, failures=0)
    for takes in (0, 4, 4, 6):
        metrics.stores.local_takes(takes)

    found = samples(metrics)
    assert found['aiservice_store_up{store="limits"}'] == 1
    assert found['aiservice_store_up{store="cache"}'] == 0
    assert found['aiservice_store_failures_total{store="limits"}'] == 5
    assert found['aiservice_store_failures_total{store="cache"}'] == 0
    assert found["aiservice_limits_local_takes_total"] == 6


def test_two_applications_in_one_process_count_apart():
    first, second = Metrics(), Metrics()
    first.cache_lookup("miss")

    assert 'aiservice_cache_lookups_total{result="miss"}' not in samples(second)


def test_sharing_comes_before_the_library(tmp_path):
    with pytest.raises(RuntimeError, match="before the first import"):
        share_metrics(tmp_path / "metrics")


SEVERAL = """
import os, sys
from pathlib import Path
from aiservice.observe.shared import share_metrics
folder = Path(sys.argv[1])
(folder / "metrics").mkdir()
(folder / "metrics" / "counter_1.db").write_bytes(b"left over")
share_metrics(folder / "metrics")
from aiservice.observe.metrics import Metrics, SupervisorMetrics

supervisor, metrics, pids = SupervisorMetrics(), Metrics(["/x"]), []
for count in (1, 2, 3):
    pid = os.fork()
    if pid == 0:
        for _ in range(count):
            metrics.request("/x", 200, 0.5)
            metrics.request_opened()
        metrics.set_spool_bytes(count)
        metrics.stores.store("limits", is_up=count != 2, failures=count)
        metrics.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    pids.append(pid)
sys.stdout.write(metrics.render().decode() + "--\\n")
supervisor.worker_died(pids[2])
supervisor.process_ended(pids[1])
sys.stdout.write(metrics.render().decode())
"""


def test_processes_are_summed_and_the_dead_keep_their_counts_but_no_open_requests(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SEVERAL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    alive, after = (part.splitlines() for part in ran.stdout.split("--\n"))

    for lines in (alive, after):
        assert 'aiservice_requests_total{endpoint="/x",status="200"} 6.0' in lines
        assert 'aiservice_request_seconds_bucket{endpoint="/x",le="0.5"} 6.0' in lines
        assert 'aiservice_request_seconds_count{endpoint="/x"} 6.0' in lines
    assert "aiservice_open_requests 6.0" in alive
    assert "aiservice_usage_spool_bytes 3.0" in alive
    assert "aiservice_worker_restarts_total 0.0" in alive
    assert 'aiservice_store_up{store="limits"} 0.0' in alive
    assert 'aiservice_store_failures_total{store="limits"} 6.0' in alive
    # One that ended, and would still say that the store is away, is not asked any more.
    assert 'aiservice_store_up{store="limits"} 1.0' in after
    assert 'aiservice_store_failures_total{store="limits"} 6.0' in after
    assert "aiservice_open_requests 1.0" in after
    assert "aiservice_worker_restarts_total 1.0" in after
