"""Processes that are stopped, not dead: the others notice within seconds, and no drain waits for them."""

import signal
import time

import grpc
import pytest
from harness import (
    GREEDY,
    chat,
    first_delta,
    status_of,
    wait_for_health,
    wait_until,
)

# Far above the default --stall_timeout of 2.5 s, far below the minute that it once took.
SOON_SECONDS = 20


def running_stream(serving):
    """An answer that goes on for longer than any test."""
    stream = serving.stub().Generate(
        chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=16000), timeout=300
    )
    first_delta(stream)
    return stream


def seconds_until_end(stream):
    start = time.monotonic()
    code, details = status_of(stream)
    assert code == grpc.StatusCode.UNAVAILABLE, f"{code} {details}"
    return time.monotonic() - start


def test_the_metrics_show_how_long_a_rank_has_been_silent(cluster, tiny_model):
    serving = cluster.serve(tiny_model, tp=2, worker_flags=["--stall_timeout", "60s"])
    (rank,) = serving.worker.ranks()
    stream = running_stream(serving)
    assert serving.engine().total("phalanx_group_rank_silence_seconds") < 2
    assert serving.engine().total("phalanx_engine_step_age_seconds") < 2
    rank.suspend()

    def both_grow():
        engine = serving.engine()
        silence = engine.total("phalanx_group_rank_silence_seconds")
        return min(silence, engine.total("phalanx_engine_step_age_seconds")) >= 2

    wait_until(both_grow, "the silence of the rank and the age of the step are 2 s")
    rank.resume()
    # Nothing was lost: the answer goes on.
    first_delta(stream)
    stream.cancel()
    serving.wait_idle()
    wait_until(
        lambda: serving.engine().total("phalanx_engine_step_age_seconds") == 0,
        "without work nothing ages",
    )


def test_a_stopped_leader_is_noticed_by_the_coordinator(cluster, tiny_model):
    serving = cluster.serve(tiny_model, tp=2)
    stream = running_stream(serving)
    serving.worker.send(signal.SIGSTOP)
    assert seconds_until_end(stream) < SOON_SECONDS
    wait_for_health(serving.target, "NOT_SERVING")
    # It takes up where it was, and is found again.
    serving.worker.send(signal.SIGCONT)
    wait_for_health(serving.target, "SERVING")


@pytest.mark.parametrize("stopped", ["rank", "nothing"])
def test_a_drain_keeps_to_its_timeout(cluster, tiny_model, stopped):
    patient = ["--stall_timeout", "10m", "--step_timeout", "10m", "--drain_timeout", "1s"]
    serving = cluster.serve(tiny_model, tp=2, worker_flags=patient)
    stream = running_stream(serving)
    if stopped == "rank":
        (rank,) = serving.worker.ranks()
        rank.suspend()
    serving.worker.send(signal.SIGTERM)
    assert serving.worker.wait(SOON_SECONDS) == 0, serving.worker.log()
    assert "requests are left after --drain_timeout 1s" in serving.worker.log()
    assert seconds_until_end(stream) < SOON_SECONDS
    serving.worker.stop()


@pytest.mark.parametrize("stopped", ["rank", "nothing"])
def test_a_second_signal_ends_a_worker_at_once(cluster, tiny_model, stopped):
    patient = ["--stall_timeout", "10m", "--step_timeout", "10m", "--drain_timeout", "10m"]
    serving = cluster.serve(tiny_model, tp=2, worker_flags=patient)
    stream = running_stream(serving)
    if stopped == "rank":
        (rank,) = serving.worker.ranks()
        rank.suspend()
    serving.worker.send(signal.SIGTERM)
    serving.worker.wait_for_log("draining for at most")
    serving.worker.send(signal.SIGTERM)
    assert serving.worker.wait(SOON_SECONDS) == 0, serving.worker.log()
    assert seconds_until_end(stream) < SOON_SECONDS
    serving.worker.stop()
