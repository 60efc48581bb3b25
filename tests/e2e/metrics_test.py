"""The /metrics pages: who may keep them waiting, and what they say."""

import contextlib
import socket

import grpc
from harness import GREEDY, chat, first_delta, pb, read_answer, status_of, wait_until
from metrics_page import scrape


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


def test_silent_connections_keep_no_page_waiting(serving):
    for program in serving.programs():
        for page in program.metrics_addresses():
            with contextlib.ExitStack() as open_sockets:
                silent = [open_sockets.enter_context(connect(page)) for _ in range(50)]
                for speaker in silent[::2]:
                    speaker.sendall(b"GET /metr")
                assert "phalanx_build_info" in scrape(page).text
                # Not because they were closed: none has got an end of file.
                for one in silent:
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        assert one.recv(1) != b"", "closed, so the page did wait"


def test_a_request_in_a_groups_queue_is_waiting(cluster, smollm2):
    serving = cluster.serve(smollm2, worker_flags=["--max_seqs", "1"])
    page = serving.coordinator.metrics_addresses()[0]

    def counts():
        front, engine = scrape(page), serving.engine()
        return (
            front.total("phalanx_requests_running"),
            front.total("phalanx_requests_waiting"),
            engine.total("phalanx_engine_requests_running"),
            engine.total("phalanx_engine_requests_waiting"),
        )

    request = chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=4000)
    first = serving.stub().Generate(request)
    first_delta(first)
    wait_until(lambda: counts() == (1, 0, 1, 0), "one request runs")
    second = serving.stub().Generate(request)
    wait_until(lambda: counts() == (1, 1, 1, 1), "the other waits, for both programs")
    first.cancel()
    first_delta(second)
    wait_until(lambda: counts() == (1, 0, 1, 0), "it runs now")
    second.cancel()
    serving.wait_idle()


def test_what_a_group_has_once_is_told_once(serving):
    pages = [scrape(page) for page in serving.worker.metrics_addresses()]
    assert len(pages) == 2
    for name in ("phalanx_engine_kv_blocks_capacity", "phalanx_engine_kv_blocks_used"):
        assert [f"\n{name} " in page.text for page in pages] == [True, False]
    assert pages[0].total("phalanx_engine_kv_blocks_capacity") > 0


def test_a_sum_over_the_ranks_counts_nothing_twice(serving):
    """Which families are on the leader's page, on the others' pages, and on both."""
    pages = [scrape(page) for page in serving.worker.metrics_addresses()]
    leader, other = ({line.split()[2] for line in page.text.splitlines() if line[:6] == "# TYPE"} for page in pages)
    # Of a process, or of a rank's own work and device.
    own = {name for name in leader & other if not name.startswith("process_")}
    assert own == {
        "phalanx_all_reduce_bytes_total",
        "phalanx_backend_info",
        "phalanx_build_info",
        "phalanx_engine_all_reduce_seconds",
        "phalanx_log_lines_dropped_total",
        "phalanx_rank_step_seconds",
    }
    assert not other - leader
    assert {"phalanx_engine_step_seconds", "phalanx_rank_skew_seconds"} < leader - other


def test_ranks_tell_of_their_collectives(serving, stub):
    pages = serving.worker.metrics_addresses()
    before = [scrape(page) for page in pages]
    request = chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=40)
    answer = read_answer(stub.Generate(request))
    after = [scrape(page) for page in pages]

    def moved(name):
        return [b.total(name) - a.total(name) for a, b in zip(before, after)]

    steps = moved("phalanx_rank_step_seconds_count")
    assert steps[0] == steps[1] >= 40
    # As docs/parallelism.md has it: 30 layers, 576 wide, float32, and a word for each greedy token.
    # The first step with it computes the prompt, and all others one token.
    answer_tokens = 40
    tokens = answer.started.prompt_tokens - answer.finished.usage.cached_tokens + answer_tokens - 1
    expected = tokens * (2 * 30 + 1) * 576 * 4 + answer_tokens * 8
    assert moved("phalanx_all_reduce_bytes_total") == [expected, expected]
    for name in ("phalanx_rank_step_seconds_sum", "phalanx_engine_all_reduce_seconds_sum"):
        assert min(moved(name)) > 0


def test_what_the_leader_knows_of_its_ranks(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2, worker_flags=["--stall_timeout", "1m"])
    page = serving.worker.metrics_addresses()[0]
    heartbeat_age = "phalanx_rank_heartbeat_age_seconds"
    assert scrape(page).values(heartbeat_age, "rank").keys() == {"1"}
    stream = serving.stub().Generate(chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=4000))
    first_delta(stream)
    wait_until(lambda: scrape(page).total("phalanx_rank_skew_seconds") > 0, "one is later than the other")
    (process,) = serving.worker.ranks()
    process.suspend()
    wait_until(lambda: scrape(page).total(heartbeat_age) > 1, "the heartbeat ages")
    process.resume()
    wait_until(lambda: scrape(page).total(heartbeat_age) < 1, "it beats again")
    stream.cancel()
    serving.wait_idle()


def test_the_first_error_is_an_increase(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    page = serving.coordinator.metrics_addresses()[0]
    before = scrape(page)
    for method in ("Generate", "Score", "Tokenize", "Detokenize", "GetModel", "ListModels"):
        for code in grpc.StatusCode:
            labels = {"method": method, "code": code.name}
            assert before.total("phalanx_requests_total", **labels) == 0
    latency = "phalanx_e2e_request_latency_seconds_count"
    code, _ = status_of(serving.stub().Generate(pb.GenerateRequest(text="")))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    after = scrape(page)
    refused = {"method": "Generate", "code": "INVALID_ARGUMENT"}
    assert after.total("phalanx_requests_total", **refused) == 1
    assert before.total("phalanx_refusals_total") == 0
    assert after.total("phalanx_refusals_total", kind="empty") == 1
    assert after.total("phalanx_refusals_total") == 1
    assert after.total(latency) == 0, "a refusal counts as a fast answer"
    read_answer(serving.stub().Generate(chat("a", sampling=GREEDY, max_new_tokens=2)))
    wait_until(lambda: scrape(page).total(latency) == 1, "the answer counts")
