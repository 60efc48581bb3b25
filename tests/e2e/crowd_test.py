"""Many calls at once: what nobody waits for is not done, and what one group refuses another does."""

import concurrent.futures
import random
import signal
import time

import grpc
import pytest
from harness import GREEDY, PATIENCE_SECONDS, Stub, chat, pb, read_answer, status_of, wait_until
from metrics_page import scrape


def request(max_new_tokens, text="Count."):
    return chat(text, sampling=GREEDY, ignore_eos=True, max_new_tokens=max_new_tokens)


# --- Text work ---


def long_text():
    """Almost 1 MiB that takes the tokenizer as long as it takes: words that it has not seen."""
    letters = random.Random(1)
    words = ("".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(104_000))
    return " ".join(words)


def tokenize_calls(serving, count):
    """Calls of long_text under way: so many that the coordinator refuses the last of them."""
    stub = serving.stub()._stub
    message = pb.TokenizeRequest(text=long_text())
    calls = [stub.Tokenize.future(message, timeout=300) for _ in range(count)]
    wait_until(lambda: any(is_refused(call) for call in calls), "the queue for text is full")
    return calls


def is_refused(call):
    return call.done() and call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def tokenized(serving, code):
    page = scrape(serving.coordinator.metrics_addresses()[0])
    try:
        return page.total("phalanx_requests_total", method="Tokenize", code=code)
    except AssertionError:
        return 0


def test_cancelled_texts_are_not_tokenized(cluster, smollm2):
    serving = cluster.serve(smollm2, coordinator_flags=["--text_threads", "1"])
    calls = tokenize_calls(serving, 300)
    for call in calls:
        call.cancel()
    # While the calls were made, which takes seconds, the first of them were done.
    done_before = tokenized(serving, "OK")
    begin = time.monotonic()
    read_answer(serving.stub().Generate(request(3)))
    assert time.monotonic() - begin < 15, "a small request waited for texts that nobody wants"
    assert tokenized(serving, "RESOURCE_EXHAUSTED") > 0
    assert tokenized(serving, "CANCELLED") > 30
    assert tokenized(serving, "OK") - done_before < 3
    serving.coordinator.send(signal.SIGTERM)
    serving.coordinator.send(signal.SIGTERM)
    assert serving.coordinator.wait(20) == 0


def test_long_texts_hold_up_no_short_one(cluster, smollm2):
    serving = cluster.serve(smollm2, coordinator_flags=["--text_threads", "1"])
    calls = tokenize_calls(serving, 100)
    read_answer(serving.stub().Generate(request(3)))
    assert not all(call.done() for call in calls), "the answer came while long texts waited"
    for call in calls:
        call.cancel()


@pytest.mark.parametrize("signals", [1, 2])
def test_text_under_way_keeps_no_program_from_ending(cluster, smollm2, signals):
    flags = ["--text_threads", "1", "--drain_timeout", "100ms" if signals == 1 else "300s"]
    serving = cluster.serve(smollm2, coordinator_flags=flags)
    calls = tokenize_calls(serving, 100)
    for _ in range(signals):
        serving.coordinator.send(signal.SIGTERM)
    assert serving.coordinator.wait(20) == 0
    codes = {status_of_unary(call) for call in calls}
    assert codes - {grpc.StatusCode.OK}, codes


def status_of_unary(call):
    try:
        call.result(PATIENCE_SECONDS)
    except grpc.RpcError as error:
        return error.code()
    except grpc.FutureCancelledError:
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.OK


# --- Two groups ---


def serve_two(cluster, model, first_flags=(), second_flags=()):
    """Two groups behind one coordinator. Which of them takes the first request is chance."""
    workers = [cluster.worker(model, flags=flags).wait_ready() for flags in (first_flags, second_flags)]
    coordinator = cluster.coordinator(model, [worker.target for worker in workers]).wait_ready()
    wait_until(
        lambda: scrape(coordinator.metrics_addresses()[0]).total("phalanx_worker_groups", state="serving") == 2,
        "both groups serve",
    )
    return workers, coordinator


def moved(coordinator, reason):
    return scrape(coordinator.metrics_addresses()[0]).total("phalanx_requests_moved_total", reason=reason)


def test_what_a_full_group_refuses_an_idle_one_answers(cluster, smollm2):
    small = ["--max_seqs", "1", "--max_waiting", "1"]
    _, coordinator = serve_two(cluster, smollm2, first_flags=small)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(read_answer, Stub(coordinator.target).Generate(request(20))) for _ in range(10)]
        for call in calls:
            assert len(call.result().token_ids) == 20
    assert moved(coordinator, "queue_full") > 0


def test_a_full_service_refuses_before_it_sends_anything(cluster, smollm2):
    small = ["--max_seqs", "1", "--max_waiting", "1"]
    _, coordinator = serve_two(cluster, smollm2, first_flags=small, second_flags=small)
    streams = [Stub(coordinator.target).Generate(request(40)) for _ in range(12)]
    refusals = 0
    for stream in streams:
        started = False
        try:
            for event in stream:
                started |= event.WhichOneof("event") == "started"
        except grpc.RpcError as error:
            refusals += 1
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "--max_waiting" in error.details() and "127.0.0.1" not in error.details()
            assert not started, "Started, and then a refusal"
    assert 0 < refusals < len(streams)


def test_a_group_that_is_killed_before_the_first_token_costs_no_call(cluster, smollm2):
    # A prompt that takes its time: one token of it a step.
    slow = ["--max_seqs", "1", "--max_step_tokens", "1"]
    workers, coordinator = serve_two(cluster, smollm2, first_flags=slow, second_flags=slow)
    stream = Stub(coordinator.target).Generate(request(5, text="Count on. " * 100))
    assert next(stream).WhichOneof("event") == "started"
    running = [
        worker
        for worker in workers
        if scrape(worker.metrics_addresses()[0]).total("phalanx_engine_requests_running") == 1
    ]
    assert len(running) == 1
    running[0].expected_exit = -signal.SIGKILL
    running[0].send(signal.SIGKILL)
    kinds = [event.WhichOneof("event") for event in stream]
    assert stream.code() == grpc.StatusCode.OK, stream.details()
    assert "started" not in kinds and kinds[-1] == "finished"
    assert moved(coordinator, "lost") == 1
    code, _ = status_of(Stub(coordinator.target).Generate(request(2)))
    assert code == grpc.StatusCode.OK
