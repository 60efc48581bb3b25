"""deploy/haproxy/haproxy.cfg before a coordinator: what it lets through, and what it keeps away."""

import os
import signal
import subprocess
import threading

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
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
    unused_port,
    wait_until,
)
from http2_client import announce_a_gigabyte_of_header

CONFIG = "deploy/haproxy/haproxy.cfg"


class Edge:
    """HAProxy before one coordinator."""

    def __init__(self, coordinator, log_path):
        self.target = f"127.0.0.1:{unused_port()}"
        addresses = {"PHALANX_EDGE": self.target, "PHALANX_COORDINATOR": coordinator}
        with open(log_path, "wb") as log:
            # In the foreground.
            self._process = subprocess.Popen(
                ["haproxy", "-db", "-f", CONFIG], env={**os.environ, **addresses}, stderr=log
            )

    def stop(self):
        # HAProxy waits for calls on SIGUSR1 only.
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def edge(tmp_path_factory, serving):
    front = Edge(serving.target, tmp_path_factory.mktemp("edge") / "haproxy.log")
    try:
        wait_until(lambda: health(front.target) == "SERVING", "the edge has found its coordinator")
        yield front
    finally:
        front.stop()


def request(max_new_tokens):
    return chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=max_new_tokens)


def test_an_answer_streams_through(serving, stub, edge):
    direct = read_answer(stub.Generate(request(10)))
    stream = Stub(edge.target).Generate(request(10))
    answer = read_answer(stream)
    assert answer.token_ids == direct.token_ids


def test_a_cancelled_call_is_cancelled_behind_the_edge(serving, stub, edge):
    stream = Stub(edge.target).Generate(request(4000))
    # One at a time comes through: nothing is held back until the answer is whole.
    first_delta(stream)
    assert serving.engine().total("phalanx_engine_requests_running") == 1
    stream.cancel()
    # It would take minutes to its end.
    wait_until(
        lambda: serving.engine().total("phalanx_engine_requests_running") == 0, "it has ended", 20
    )


def test_a_deadline_passes_through(serving, stub, edge):
    code, _ = status_of(Stub(edge.target).Generate(request(4000), timeout=1))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(
        lambda: serving.engine().total("phalanx_engine_requests_running") == 0, "it has ended", 20
    )


def test_health_is_watched_through_and_reflection_is_not_public(edge):
    with grpc.insecure_channel(edge.target, OWN_CONNECTION) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="phalanx.v1.Inference"), timeout=60
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        code, details = status_of(channel.unary_stream(method)(b"", timeout=60))
        assert code == grpc.StatusCode.UNIMPLEMENTED and details == "no such method here"


def test_a_coordinator_without_groups_gets_no_calls(cluster, tmp_path, tiny_model):
    coordinator = cluster.coordinator(tiny_model, ["127.0.0.1:1"]).wait_ready()
    edge = Edge(coordinator.target, tmp_path / "haproxy.log")
    try:
        wait_until(
            lambda: "no server available" in (tmp_path / "haproxy.log").read_text(),
            "the edge has seen NOT_SERVING",
        )
        # Said by the edge: the coordinator itself would answer this one.
        assert health(edge.target, "liveness") == "UNAVAILABLE"
    finally:
        edge.stop()


def test_slow_endless_headers_leave_the_service_calm(serving, stub, edge):
    process = psutil.Process(serving.coordinator.process.pid)
    before = sum(process.cpu_times()[:2])
    taken = []
    attackers = [
        threading.Thread(
            target=lambda: taken.append(announce_a_gigabyte_of_header(edge.target, 10, 32 << 20))
        )
        for _ in range(2)
    ]
    for attacker in attackers:
        attacker.start()
    # A bystander behind the same edge is answered meanwhile.
    read_answer(Stub(edge.target).Generate(request(5)))
    for attacker in attackers:
        attacker.join()
    # Cut off after some frames, and nothing of it came to the coordinator: directly, these bytes cost it
    # tens of seconds.
    assert max(taken) < 1 << 20
    assert sum(process.cpu_times()[:2]) - before < 5
