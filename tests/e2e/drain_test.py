"""Programs that leave while they are in use: nobody but a client that asks one of them alone sees it."""

import concurrent.futures
import json
import signal
import threading
import time

import grpc
import pytest
from harness import (
    GREEDY,
    OWN_CONNECTION,
    PATIENCE_SECONDS,
    Stub,
    chat,
    first_delta,
    health,
    read_answer,
    status_of,
    wait_for_health,
    wait_until,
)
from metrics_page import scrape


def request(max_new_tokens):
    return chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=max_new_tokens)


def stream_that_waits(target):
    """A stream that does not end before it is read on: its client's window is too small for it."""
    window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    stream = Stub(target, [*OWN_CONNECTION, *window]).Generate(request(16000))
    first_delta(stream)
    return stream


class Traffic:
    """Short calls, one after the other, from a thread of its own."""

    def __init__(self, stub):
        self._stub = stub
        self._stop = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self.ends = []
        self._done = self._pool.submit(self._run)

    def _run(self):
        while not self._stop.is_set():
            self.ends.append(status_of(self._stub.Generate(request(2))))

    def wait_for(self, more):
        """Waits until so many further calls have ended."""
        target = len(self.ends) + more
        wait_until(lambda: len(self.ends) >= target, f"{more} more calls have ended")

    def stop(self):
        self._stop.set()
        self._done.result(PATIENCE_SECONDS)
        return [end for end in self.ends if end[0] != grpc.StatusCode.OK]


HEALTH_CHECKED = {"healthCheckConfig": {"serviceName": ""}}
# What crosses the GOAWAY on the wire gRPC 1.51 answers with CANCELLED.
RETRYING = {
    "methodConfig": [
        {
            "name": [{"service": "phalanx.v1.Inference"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}


def client_of(targets, config):
    """A stub that knows all targets and spreads its calls over them."""
    config = {"loadBalancingConfig": [{"round_robin": {}}], **config}
    options = [*OWN_CONNECTION, ("grpc.service_config", json.dumps(config))]
    return Stub("ipv4:" + ",".join(targets), options)


def test_a_client_with_two_coordinators_does_not_notice_that_one_leaves(cluster, tiny_model):
    worker = cluster.worker(tiny_model).wait_ready()
    flags = ["--lame_duck", "3s", "--drain_timeout", "60s"]
    coordinators = [
        cluster.coordinator(tiny_model, [worker.target], flags=flags).wait_ready() for _ in range(2)
    ]
    leaving, staying = coordinators
    for coordinator in coordinators:
        wait_for_health(coordinator.target, "SERVING")
    stream = stream_that_waits(leaving.target)
    traffic = Traffic(client_of([c.target for c in coordinators], HEALTH_CHECKED))
    traffic.wait_for(20)
    leaving.send(signal.SIGTERM)
    wait_until(lambda: health(leaving.target) != "SERVING", "the lame duck says so")
    wait_until(lambda: "draining 1 requests" in leaving.log(), "the drain began")
    traffic.wait_for(20)
    assert leaving.process.poll() is None, "the long stream still runs"
    assert not stream.done()
    tokens = sum(len(event.delta.token_ids) for event in stream)
    assert stream.code() == grpc.StatusCode.OK and tokens > 0
    assert leaving.wait() == 0
    traffic.wait_for(20)
    assert not traffic.stop()
    assert "SERVING" == health(staying.target)


def test_a_client_that_asks_for_no_health_moves_when_it_is_told_to_go_away(cluster, tiny_model):
    worker = cluster.worker(tiny_model).wait_ready()
    coordinators = [
        cluster.coordinator(tiny_model, [worker.target], flags=["--drain_timeout", "60s"]).wait_ready()
        for _ in range(2)
    ]
    for coordinator in coordinators:
        wait_for_health(coordinator.target, "SERVING")
    leaving, staying = coordinators
    stream = stream_that_waits(leaving.target)
    traffic = Traffic(client_of([c.target for c in coordinators], RETRYING))
    traffic.wait_for(20)
    leaving.send(signal.SIGTERM)
    leaving.wait_for_log("draining")
    traffic.wait_for(40)
    assert not stream.done(), "the drain still goes on"
    assert not traffic.stop()
    stream.cancel()
    assert leaving.wait() == 0
    assert health(staying.target) == "SERVING"


@pytest.mark.parametrize("lame_duck", ["0s", "2s"])
def test_a_worker_that_leaves_costs_no_call(cluster, tiny_model, lame_duck):
    flags = ["--lame_duck", lame_duck]
    leaving = cluster.worker(tiny_model, flags=flags).wait_ready()
    staying = cluster.worker(tiny_model).wait_ready()
    coordinator = cluster.coordinator(tiny_model, [leaving.target, staying.target]).wait_ready()
    metrics = coordinator.metrics_addresses()[0]
    wait_until(
        lambda: scrape(metrics).total("phalanx_worker_groups", state="serving") == 2, "both serve"
    )
    traffic = [Traffic(Stub(coordinator.target)) for _ in range(4)]
    for one in traffic:
        one.wait_for(5)
    leaving.send(signal.SIGTERM)
    assert leaving.wait() == 0
    for one in traffic:
        one.wait_for(5)
    failures = [failure for one in traffic for failure in one.stop()]
    assert not failures, failures


# --- Bounds ---


def start_stream(cluster, model, flags, of):
    serving = cluster.serve(
        model,
        worker_flags=flags if of == "worker" else (),
        coordinator_flags=flags if of == "coordinator" else (),
    )
    stream = serving.stub().Generate(request(8000))
    first_delta(stream)
    return getattr(serving, of), stream


@pytest.mark.parametrize("of", ["worker", "coordinator"])
def test_a_second_signal_ends_at_once(cluster, tiny_model, of):
    flags = ["--lame_duck", "300s", "--drain_timeout", "300s"]
    program, stream = start_stream(cluster, tiny_model, flags, of)
    program.send(signal.SIGTERM)
    program.wait_for_log("--lame_duck")
    program.send(signal.SIGTERM)
    assert program.wait(30) == 0
    assert status_of(stream)[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("of", ["worker", "coordinator"])
def test_a_second_signal_ends_a_drain_at_once(cluster, smollm2, of):
    flags = ["--drain_timeout", "300s"]
    program, stream = start_stream(cluster, smollm2, flags, of)
    program.send(signal.SIGINT)
    program.wait_for_log("--drain_timeout")
    program.send(signal.SIGTERM)
    assert program.wait(30) == 0
    assert status_of(stream)[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("of", ["worker", "coordinator"])
def test_a_drain_keeps_to_its_timeout(cluster, smollm2, of):
    program, stream = start_stream(
        cluster, smollm2, ["--lame_duck", "100ms", "--drain_timeout", "200ms"], of
    )
    program.send(signal.SIGTERM)
    assert program.wait(30) == 0
    assert status_of(stream)[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("of", ["worker", "coordinator"])
def test_sigterm_keeps_the_lame_duck_and_sigint_skips_it(cluster, tiny_model, of):
    flags = ["--lame_duck", "2s"]
    for signal_number, at_least, at_most in [(signal.SIGTERM, 2, 60), (signal.SIGINT, 0, 60)]:
        serving = cluster.serve(tiny_model, worker_flags=flags, coordinator_flags=flags)
        program = getattr(serving, of)
        begin = time.monotonic()
        program.send(signal_number)
        assert program.wait(at_most) == 0
        assert time.monotonic() - begin >= at_least
        assert ("--lame_duck" in program.log()) == (signal_number == signal.SIGTERM)
        # Waited for: the fixture's SIGTERM would be a second signal.
        for other in serving.programs():
            other.send(signal.SIGINT)
            assert other.wait() == 0


def test_a_lame_duck_still_answers(cluster, tiny_model):
    serving = cluster.serve(tiny_model, coordinator_flags=["--lame_duck", "20s"])
    serving.coordinator.send(signal.SIGTERM)
    wait_for_health(serving.target, "NOT_SERVING")
    assert read_answer(serving.stub().Generate(request(3))).token_ids
    serving.coordinator.send(signal.SIGTERM)
    assert serving.coordinator.wait(30) == 0
