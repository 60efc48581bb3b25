"""Groups whose ranks meet over TCP, as on several hosts: here on one, over its loopback device."""

import pathlib
import re
import signal
import socket
import subprocess

import pytest
from harness import (
    GREEDY,
    Serving,
    first_delta,
    path_of,
    pb,
    read_answer,
    unused_port,
    wait_for_health,
)
from rank_certificates import Authority

# A program that was told to stop, or whose group is lost, has ended by then, on a busy machine too.
SOON_SECONDS = 30
SEEDED = pb.Sampling(temperature=1.0, top_k=20, top_p=0.9, seed=7)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "group")


@pytest.fixture
def leader():
    """Where rank 0 is to listen."""
    return f"127.0.0.1:{unused_port()}"


class Group:
    """The ranks of one group, each with a certificate of its own."""

    def __init__(self, cluster, model, leader, flags_of, world=3):
        self._cluster, self._model, self._leader, self._flags_of = cluster, model, leader, flags_of
        self._world = world
        self.ranks = {}

    def start(self, rank, **options):
        flags = self._flags_of(f"rank{rank}")
        self.ranks[rank] = self._cluster.host_rank(
            self._model, rank, self._leader, world=self._world, flags=flags, **options
        )
        return self.ranks[rank]

    def serve(self):
        """A coordinator that is SERVING, once all ranks have been started."""
        self.ranks[0].wait_ready()
        coordinator = self._cluster.coordinator(self._model, [self.ranks[0].target]).wait_ready()
        wait_for_health(coordinator.target, "SERVING")
        return Serving(self.ranks[0], coordinator)

    def leave(self):
        """The leader is told to stop, and its ranks leave with it."""
        self.ranks[0].send(signal.SIGTERM)
        for program in self.ranks.values():
            assert program.wait(SOON_SECONDS) == 0, program.log()


@pytest.fixture
def group(cluster, smollm2, leader, authority):
    return Group(cluster, smollm2, leader, authority.issue)


def answers(serving):
    """Greedy and drawn tokens, of requests that run together."""
    stub = serving.stub()
    streams = [
        stub.Generate(pb.GenerateRequest(text=text, sampling=sampling, ignore_eos=True, max_new_tokens=24))
        for text in ("The capital of France is", "Once upon a time")
        for sampling in (GREEDY, SEEDED)
    ]
    tokens = [list(read_answer(stream).token_ids) for stream in streams]
    serving.wait_idle()
    return tokens


# --- What they compute ---


def test_three_ranks_over_tcp_give_the_tokens_of_one(cluster, smollm2, group):
    alone = answers(cluster.serve(smollm2))
    # In no order, and before there is a leader.
    for rank in (2, 0, 1):
        group.start(rank)
    serving = group.serve()
    assert answers(serving) == alone
    assert len(serving.worker.metrics_addresses()) == 3
    group.leave()


def test_a_secret_will_do_if_that_is_asked_for(cluster, tiny_model, leader, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not to be guessed by anybody\n")
    flags = ["--group_secret_file", str(secret), "--insecure_rank_link"]
    group = Group(cluster, tiny_model, leader, lambda name: flags, world=2)
    group.start(0)
    group.start(1)
    assert all(len(tokens) == 24 for tokens in answers(group.serve()))
    assert "linked without TLS" in group.ranks[1].log()
    group.leave()


def test_gpus_meet_over_tcp(cluster, tiny_folder, leader, authority):
    def flags_of(name):
        flags = ["--device", "cuda", "--activations", "f32", "--max_seqs", "8", "--max_step_tokens", "64"]
        return [*authority.issue(name), *flags]

    alone = answers(cluster.serve(str(tiny_folder), worker_flags=["--device", "cpu"]))
    group = Group(cluster, str(tiny_folder), leader, flags_of, world=2)
    group.start(1, program="EMULATED_GPU_WORKER")
    group.start(0, program="EMULATED_GPU_WORKER")
    assert answers(group.serve()) == alone
    group.leave()


# --- Who joins ---


def test_a_rank_that_comes_late_is_waited_for(group):
    group.start(0).wait_for_log("waiting for ranks")
    group.start(2)
    group.ranks[0].wait_for_log("rank 2 has joined")
    group.start(1)
    answers(group.serve())
    group.leave()


def test_a_certificate_of_another_authority_is_refused_and_named(
    cluster, smollm2, group, leader, tmp_path
):
    group.start(0).wait_for_log("waiting for ranks")
    group.start(2)
    # It believes the leader, which does not believe it.
    flags = Authority(tmp_path, "others").issue("stranger")
    both = tmp_path / "both.crt"
    both.write_text("".join((tmp_path / f"{name}.crt").read_text() for name in ("group", "others")))
    stranger = cluster.host_rank(smollm2, 1, leader, flags=[*flags[:-1], str(both)])
    stranger.expected_exit = 1
    assert stranger.wait(SOON_SECONDS) == 1
    assert "does not believe our certificate" in stranger.log()
    group.ranks[0].wait_for_log("its certificate is not believed")
    group.start(1)
    answers(group.serve())
    group.leave()


def test_a_rank_with_another_model_is_refused_and_costs_nothing(cluster, tiny_model, group, leader, authority):
    group.start(0).wait_for_log("waiting for ranks")
    other = cluster.host_rank(tiny_model, 1, leader, flags=authority.issue("other"))
    other.expected_exit = 1
    assert other.wait(SOON_SECONDS) == 1
    assert "the leader refused this rank: rank 1 has another model" in other.log()
    assert "rank 1 has another model" in group.ranks[0].log()
    group.start(1)
    group.start(2)
    answers(group.serve())
    group.leave()


def test_strangers_at_the_port_keep_no_group_from_forming(cluster, tiny_model, leader, authority):
    group = Group(cluster, tiny_model, leader, authority.issue, world=2)
    group.start(0).wait_for_log("waiting for ranks")
    host, port = leader.rsplit(":", 1)
    # More than may be there at once, of which some say nothing, some garbage, and some begin a TLS
    # handshake that they never end.
    strangers = [socket.create_connection((host, int(port))) for _ in range(150)]
    for number, stranger in enumerate(strangers):
        greeting = (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01")[number % 3]
        try:
            stranger.sendall(greeting)
        except ConnectionError:
            pass  # It has been turned away already.
    group.start(1)
    answers(group.serve())
    log = group.ranks[0].log()
    assert "turned away 127.0.0.1:" in log
    assert "it does not speak TLS 1.3" in log
    group.leave()
    for stranger in strangers:
        stranger.close()


def test_a_certificate_that_is_renewed_is_proved_by_the_next_rank(cluster, tiny_model, leader, authority):
    group = Group(cluster, tiny_model, leader, authority.issue, world=2)
    group.start(0).wait_for_log("waiting for ranks")
    # Into the same files, which the leader reads again when somebody connects.
    authority.issue("rank0")
    group.start(1)
    answers(group.serve())
    group.ranks[0].wait_for_log("again")
    group.leave()


# --- When a rank is lost ---


def test_a_rank_that_is_killed_is_waited_for_and_streams_go_on(group):
    for rank in range(3):
        group.start(rank)
    serving = group.serve()
    request = pb.GenerateRequest(text="Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=200)
    undisturbed = read_answer(serving.stub().Generate(request)).token_ids
    stream = serving.stub().Generate(request)
    tokens = list(first_delta(stream).token_ids)
    group.ranks[2].expected_exit = -signal.SIGKILL
    group.ranks[2].send(signal.SIGKILL)
    group.ranks[0].wait_for_log("epoch 1 of the group is lost")
    # Whoever of the others notices first says it.
    assert re.search("the group is lost: .*rank 2 ", group.ranks[0].log())
    group.start(2)
    for event in stream:
        tokens += event.delta.token_ids
    assert tokens == list(undisturbed)
    assert group.ranks[1].log().count("rank 1 of 3: ") == 1, "it has loaded its weights once"
    group.leave()


def test_a_new_leader_finds_ranks_that_have_kept_their_weights(group):
    for rank in range(3):
        group.start(rank)
    undisturbed = answers(group.serve())
    old = group.ranks[0]
    old.expected_exit = -signal.SIGKILL
    old.send(signal.SIGKILL)
    for rank in (1, 2):
        group.ranks[rank].wait_for_log("keeping the weights and joining again")
    group.start(0)
    assert answers(group.serve()) == undisturbed
    for rank in (1, 2):
        assert group.ranks[rank].log().count(f"rank {rank} of 3: ") == 1
    group.leave()


# --- Command lines ---


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--leader", "host:1"], "--rank_tls_cert"),
        (["--leader", "host:1", "--insecure_rank_link"], "--group_secret_file"),
        (["--rank_tls_cert", "/c"], "give --leader too"),
        (["--leader", "host:1", "--rank_tls_cert", "/c"], "belong together"),
        ([], "--group_socket"),
    ],
)
def test_command_lines_that_make_no_sense_are_told_so(flags, complaint):
    command = [path_of("WORKER"), "--model", "/m", "--world", "2", "--rank", "1", *flags]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SOON_SECONDS)
    assert result.returncode == 2
    assert complaint in result.stderr


def test_files_that_cannot_be_used_are_named(cluster, tiny_model, leader, authority, tmp_path):
    flags = authority.issue("rank1")
    key = pathlib.Path(flags[3])
    key.write_text("nothing of that kind\n")
    rank = cluster.host_rank(tiny_model, 1, leader, world=2, flags=flags)
    rank.expected_exit = 1
    assert rank.wait(SOON_SECONDS) == 1
    assert f"cannot use {key}" in rank.log()
