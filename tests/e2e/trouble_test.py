"""Things break while requests run: each ends with a defined status, and nothing is left."""

import concurrent.futures
import signal
import subprocess

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
    path_of,
    pb,
    read_answer,
    status_of,
    wait_for_health,
    wait_until,
)
from http2_client import Http2Client
from metrics_page import scrape

LONG_ANSWER_TOKENS = 4000


def long_request(max_new_tokens=LONG_ANSWER_TOKENS):
    """An answer that is still going on when the test does something to it."""
    return chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=max_new_tokens)


def running_stream(serving):
    """A stream that has had its first tokens."""
    stream = serving.stub().Generate(long_request())
    first_delta(stream)
    return stream


# --- Clients that go away ---
#
# That a request is gone does not show that it was ended: its answer may have come to its own end
# meanwhile. So these look at how the engine counts it, and at how many tokens it made.


def test_a_cancelled_request_is_ended_in_the_engine(serving):
    ends = serving.ends()
    stream = running_stream(serving)
    assert serving.engine().total("phalanx_engine_kv_blocks_used") > 0
    stream.cancel()
    serving.wait_idle()
    assert ends.in_engine() == {"CANCELLED": 1}
    assert ends.at_coordinator() == {"CANCELLED": 1}
    assert 0 < ends.tokens() < LONG_ANSWER_TOKENS / 2


def test_a_killed_client_is_ended_in_the_engine(serving):
    ends = serving.ends()
    command = [path_of("PHALANX"), "generate", "Count to a thousand.", "--target", serving.target]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        client.stdout.read(1)
        client.kill()
    serving.wait_idle()
    assert ends.in_engine() == {"CANCELLED": 1}
    assert ends.at_coordinator() == {"CANCELLED": 1}


def test_an_expired_deadline_ends_the_request_in_the_engine(serving):
    ends = serving.ends()
    stream = serving.stub().Generate(long_request(), timeout=1)
    code, _ = status_of(stream)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    serving.wait_idle()
    assert ends.at_coordinator() == {"DEADLINE_EXCEEDED": 1}
    # The engine's own timer and the coordinator's cancellation come at the same time.
    assert ends.in_engine() in ({"DEADLINE_EXCEEDED": 1}, {"CANCELLED": 1})
    assert ends.tokens() < LONG_ANSWER_TOKENS / 2


def test_a_deadline_of_a_moment_is_kept_by_the_server(serving):
    ends = serving.ends()
    # The server reads a nanosecond as a millisecond, its smallest unit. A call that is over before
    # gRPC has a thread for it never comes to the coordinator, so one call is not enough.
    method = "/phalanx.v1.Inference/Generate"
    client = Http2Client(serving.target)
    calls = 0

    def one_came():
        nonlocal calls
        client.begin(method, long_request().SerializeToString(), timeout="1n")
        calls += 1
        return ends.at_coordinator()

    wait_until(one_came, "a call has come and ended")
    client.close()
    serving.wait_idle()
    (code,) = ends.at_coordinator()
    assert code == "DEADLINE_EXCEEDED"
    came = ends.at_coordinator()[code]
    assert came <= calls
    # It may have got as far as the first steps, but not to its end.
    assert "OK" not in ends.in_engine()
    assert ends.tokens() < 10 * came


def test_the_client_program_tells_of_its_timeout(serving):
    ends = serving.ends()
    # The answer takes longer on any machine.
    prompt = "Write a long story about a dog and a cat."
    command = [path_of("PHALANX"), "generate", prompt, "--timeout", "300ms"]
    run = subprocess.run(
        [*command, "--target", serving.target],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 5
    assert "phalanx: DEADLINE_EXCEEDED" in run.stderr
    serving.wait_idle()
    assert ends.at_coordinator() == {"DEADLINE_EXCEEDED": 1}
    assert "OK" not in ends.in_engine()


def test_a_slow_reader_gets_everything_and_holds_up_nobody(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    num_tokens = 3000
    slow = serving.stub().Generate(long_request(num_tokens))
    first = first_delta(slow)
    # The slow one does not read, and the others still get their answers.
    for _ in range(4):
        read_answer(serving.stub().Generate(long_request(50)))
    wait_until(
        lambda: serving.engine().total("phalanx_engine_requests_running") == 0,
        "the slow reader's answer was generated",
    )
    tokens, next_sequence = len(first.token_ids), first.sequence + 1
    for event in slow:
        if event.WhichOneof("event") == "delta":
            assert event.delta.sequence == next_sequence
            next_sequence += 1
            tokens += len(event.delta.token_ids)
    assert tokens == num_tokens
    serving.wait_idle()


def test_a_client_that_stops_reading_loses_its_request(cluster, tiny_model):
    serving = cluster.serve(tiny_model, coordinator_flags=["--stall_timeout", "1s"])
    ends = serving.ends()
    # A small window, so that few tokens fill it.
    small_window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    stream = Stub(serving.target, [*OWN_CONNECTION, *small_window]).Generate(long_request(16000))
    first_delta(stream)
    wait_until(ends.at_coordinator, "the request that nobody reads has ended")
    assert ends.at_coordinator() == {"RESOURCE_EXHAUSTED": 1}
    serving.wait_idle()
    assert ends.in_engine() == {"CANCELLED": 1}
    code, details = status_of(stream)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "--stall_timeout" in details
    read_answer(serving.stub().Generate(long_request(5)))


# --- Servers that go away ---


def test_a_killed_worker_leaves_no_rank_and_can_come_back(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2)
    stream = running_stream(serving)
    serving.worker.expected_exit = -signal.SIGKILL
    serving.worker.send(signal.SIGKILL)
    code, details = status_of(stream)
    assert code == grpc.StatusCode.UNAVAILABLE and details, f"{code} {details}"
    wait_until(lambda: not serving.worker.group(), "the ranks have followed their leader")
    wait_for_health(serving.target, "NOT_SERVING")
    model = serving.stub().GetModel(pb.GetModelRequest())
    assert model.serving_groups == 0
    # A new leader at the old address is found and used.
    cluster.worker(smollm2, tp=2, listen=serving.worker.target).wait_ready()
    wait_for_health(serving.target, "SERVING")
    answer = read_answer(serving.stub().Generate(long_request(5)))
    assert answer.token_ids


def test_a_coordinator_starts_before_its_worker(cluster, tiny_model):
    first = cluster.worker(tiny_model).wait_ready()
    first.stop()
    coordinator = cluster.coordinator(tiny_model, [first.target]).wait_ready()
    assert health(coordinator.target) == "NOT_SERVING"
    cluster.worker(tiny_model, listen=first.target).wait_ready()
    wait_for_health(coordinator.target, "SERVING")


def test_two_groups_share_the_work_and_one_may_die(cluster, tiny_model):
    workers = [cluster.worker(tiny_model).wait_ready() for _ in range(2)]
    coordinator = cluster.coordinator(tiny_model, [worker.target for worker in workers]).wait_ready()
    metrics_address = coordinator.metrics_addresses()[0]
    wait_until(
        lambda: scrape(metrics_address).total("phalanx_worker_groups", state="serving") == 2,
        "both groups serve",
    )
    streams = [Stub(coordinator.target).Generate(long_request(16000)) for _ in range(2)]
    for stream in streams:
        first_delta(stream)
    for worker in workers:
        running = scrape(worker.metrics_addresses()[0]).total("phalanx_engine_requests_running")
        assert running == 1, "the least loaded group is chosen"
    workers[0].expected_exit = -signal.SIGKILL
    workers[0].send(signal.SIGKILL)
    workers[0].wait()
    # One of the two streams was on the group that died; the other goes on.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ends = {pool.submit(status_of, stream): stream for stream in streams}
        lost = next(concurrent.futures.as_completed(ends))
        assert lost.result()[0] == grpc.StatusCode.UNAVAILABLE
        (kept,) = [future for future in ends if future is not lost]
        assert not kept.done()
        ends[kept].cancel()
        assert kept.result()[0] == grpc.StatusCode.CANCELLED
    assert health(coordinator.target) == "SERVING"
    read_answer(Stub(coordinator.target).Generate(long_request(10)))


# --- Orderly ends ---


def test_a_coordinator_drains_on_sigterm(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2)
    request = long_request(60)
    stream = serving.stub().Generate(request)
    deltas = [first_delta(stream)]
    serving.coordinator.send(signal.SIGTERM)
    wait_until(lambda: health(serving.target) != "SERVING", "no longer SERVING")
    for event in stream:
        deltas.append(event.delta)
    assert sum(len(delta.token_ids) for delta in deltas) == 60
    assert stream.code() == grpc.StatusCode.OK
    assert serving.coordinator.wait() == 0


def test_a_drain_ends_at_its_timeout(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2, coordinator_flags=["--drain_timeout", "100ms"])
    stream = running_stream(serving)
    serving.coordinator.send(signal.SIGTERM)
    code, details = status_of(stream)
    assert code == grpc.StatusCode.UNAVAILABLE and details, f"{code} {details}"
    assert serving.coordinator.wait() == 0
    wait_until(
        lambda: serving.engine().total("phalanx_engine_requests_total", code="CANCELLED") == 1,
        "the engine has ended the request",
    )


def test_a_worker_drains_on_sigterm(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2)
    stream = serving.stub().Generate(long_request(60))
    deltas = [first_delta(stream)]
    serving.worker.send(signal.SIGTERM)
    for event in stream:
        deltas.append(event.delta)
    assert sum(len(delta.token_ids) for delta in deltas) == 60
    assert serving.worker.wait() == 0
    wait_for_health(serving.target, "NOT_SERVING")


@pytest.mark.parametrize("tp", [1, 3])
def test_idle_programs_end_at_once(cluster, smollm2, tp):
    serving = cluster.serve(smollm2, tp=tp)
    for program in serving.programs():
        program.stop()
