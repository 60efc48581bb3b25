"""A group of three ranks on three hosts, with the coordinator on a fourth, in a network that breaks."""

import contextlib
import re
import signal
import time

import grpc
import pytest
from harness import GREEDY, Serving, first_delta, pb, read_answer, wait_for_health
from network_namespaces import Host, enter_own_network
from rank_certificates import Authority

# Before gRPC has threads.
WHY_NOT = enter_own_network()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

PORT = 7010
# A link that is cut shows as silence: --stall_timeout is 2.5 s, and some steps of the monitor more.
DETECTED_SECONDS = 8
# A rank that is cut off has only its own connection's silence to go by: ten seconds.
CUT_OFF_SECONDS = 30
PROMPTS = ("The capital of France is", "Once upon a time", "List three colours:")


@pytest.fixture
def hosts():
    """Three for ranks, one for the coordinator."""
    with contextlib.ExitStack() as stack:
        network = []
        for number in range(1, 5):
            network.append(Host(number))
            stack.callback(network[-1].stop)
        yield network


@pytest.fixture
def group(cluster, smollm2, hosts, tmp_path):
    """The ranks, and a coordinator that serves."""
    authority = Authority(tmp_path, "group")
    leader = f"{hosts[0].address}:{PORT}"
    ranks = [
        cluster.host_rank(
            smollm2,
            rank,
            leader,
            flags=authority.issue(f"rank{rank}"),
            listen=hosts[rank].any_port,
            metrics_listen=hosts[rank].any_port,
            prefix=hosts[rank].prefix,
        )
        for rank in (2, 1, 0)
    ][::-1]
    ranks[0].wait_ready()
    place = {"listen": hosts[3].any_port, "metrics_listen": hosts[3].any_port, "prefix": hosts[3].prefix}
    coordinator = cluster.coordinator(smollm2, [ranks[0].target], **place).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    return Serving(ranks[0], coordinator), ranks


def request(prompt, tokens):
    return pb.GenerateRequest(text=prompt, sampling=GREEDY, ignore_eos=True, max_new_tokens=tokens)


def answers(serving, tokens):
    stub = serving.stub()
    streams = [stub.Generate(request(prompt, tokens)) for prompt in PROMPTS]
    return [list(read_answer(stream).token_ids) for stream in streams]


def leave(ranks):
    """The leader is told to stop, and its ranks leave with it."""
    ranks[0].send(signal.SIGTERM)
    for rank in ranks:
        assert rank.wait() == 0, rank.log()


class Reader:
    """Reads a stream under which the network breaks."""

    def __init__(self, stub, prompt, tokens):
        self._stream = stub.Generate(request(prompt, tokens))
        self._tokens = []

    def begin(self):
        """Reads the first delta: the request runs."""
        self._tokens += first_delta(self._stream).token_ids

    def finish(self, undisturbed):
        """How it ends, OK or UNAVAILABLE; what came until then must be what comes undisturbed."""
        code = grpc.StatusCode.OK
        try:
            for event in self._stream:
                self._tokens += event.delta.token_ids
        except grpc.RpcError as error:
            code = error.code()
            assert error.details()
        assert self._tokens == undisturbed[: len(self._tokens)]
        if code == grpc.StatusCode.OK:
            assert len(self._tokens) == len(undisturbed)
        return code.name


def test_the_tokens_are_those_of_one_host(cluster, smollm2, group):
    serving, ranks = group
    alone = answers(cluster.serve(smollm2), 24)
    assert answers(serving, 24) == alone
    # Each rank's page is told where others find it.
    assert [page.rsplit(":", 1)[0] for page in ranks[0].metrics_addresses()] == [
        "10.77.0.1",
        "10.77.0.2",
        "10.77.0.3",
    ]
    leave(ranks)


def test_a_slow_link_makes_answers_slow_and_no_others(group, hosts):
    serving, ranks = group
    begin = time.monotonic()
    undisturbed = answers(serving, 8)
    quick = time.monotonic() - begin
    how = hosts[2].slow()
    if how is None:
        pytest.skip("this kernel has neither netem nor tbf to slow a link with")
    begin = time.monotonic()
    assert answers(serving, 8) == undisturbed
    slow = time.monotonic() - begin
    print(f"{how}: {slow:.2f} s in place of {quick:.2f} s")
    assert slow > quick
    leave(ranks)


def test_a_link_that_is_cut_is_noticed_in_time_and_streams_go_on_when_it_is_mended(group, hosts):
    serving, ranks = group
    undisturbed = answers(serving, 250)
    stub = serving.stub()
    readers = [Reader(stub, prompt, 250) for prompt in PROMPTS]
    for reader in readers:
        reader.begin()
    hosts[2].cut()
    begin = time.monotonic()
    ranks[0].wait_for_log("epoch 1 of the group is lost")
    seconds = time.monotonic() - begin
    print(f"a cut link was noticed after {seconds:.2f} s")
    assert seconds < DETECTED_SECONDS
    assert re.search("the group is lost: .*rank 2 ", ranks[0].log())
    wait_for_health(serving.target, "NOT_SERVING")
    # The rank that is cut off finds out by itself, and tries to come back with what it has.
    begin = time.monotonic()
    ranks[2].wait_for_log("keeping the weights and joining again")
    assert time.monotonic() - begin < CUT_OFF_SECONDS
    hosts[2].mend()
    wait_for_health(serving.target, "SERVING")
    for reader, tokens in zip(readers, undisturbed, strict=True):
        assert reader.finish(tokens) == "OK"
    for number, rank in enumerate(ranks):
        assert rank.log().count(f"rank {number} of 3: ") == 1, "it has loaded its weights once"
    leave(ranks)


def test_a_coordinator_that_is_cut_off_leaves_the_group_as_it_is(group, hosts):
    serving, ranks = group
    undisturbed = answers(serving, 8)
    hosts[3].cut()
    # As long as its pings need to find that out (coordinator/routing/engine_connection.h).
    serving.coordinator.wait_for_log("is lost")
    hosts[3].mend()
    wait_for_health(serving.target, "SERVING")
    assert answers(serving, 8) == undisturbed
    leave(ranks)
