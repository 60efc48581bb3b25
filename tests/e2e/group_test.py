"""How a worker group starts, is stopped on the way, and loses ranks: as its processes see it."""

import os
import signal
import socket
import tempfile
import uuid

import pytest
from harness import GREEDY, Stub, chat, first_delta, read_answer, wait_for_health

# A program that was told to stop, or whose group is lost, has ended by then, on a busy machine too.
SOON_SECONDS = 15


@pytest.fixture
def group_socket():
    return f"@phalanx-test-{uuid.uuid4().hex}"


def stop_soon(program):
    program.send(signal.SIGTERM)
    assert program.wait(SOON_SECONDS) == 0, program.log()
    # That nothing is left of it, and nothing was said on standard output: it was not ready.
    program.stop()


# --- Stopped before it serves ---


def test_a_rank_that_waits_for_its_leader_stops_on_sigterm(cluster, tiny_model, group_socket):
    rank = cluster.rank(tiny_model, 1, group_socket)
    rank.wait_for_log("joining the group")
    stop_soon(rank)


def test_a_leader_that_waits_for_ranks_stops_on_sigterm(cluster, tiny_model):
    # Not the test's own folder: the path of a socket is at most 107 bytes long.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        leader = cluster.rank(tiny_model, 0, f"{folder}/group")
        leader.wait_for_log("waiting for ranks")
        stop_soon(leader)
        assert not os.listdir(folder)


@pytest.mark.parametrize("tp", [1, 2])
def test_a_group_that_loads_stops_on_sigterm(cluster, smollm2, tp):
    leader = cluster.worker(smollm2, tp=tp)
    leader.wait_for_log("model ")
    stop_soon(leader)


def test_a_port_in_use_is_told_before_anything_is_loaded(cluster, tiny_model):
    first = cluster.worker(tiny_model).wait_ready()
    for flag, address in (
        ("listen", first.target),
        ("metrics_listen", first.metrics_addresses()[0]),
    ):
        second = cluster.worker(tiny_model, **{flag: address})
        second.expected_exit = 1
        assert second.wait(SOON_SECONDS) == 1
        assert address in second.log()
        assert "weights" not in second.log()


# --- Ranks that are started by hand ---


def serve_by_hand(cluster, model, group_socket):
    """Leader, rank 1 and coordinator of a group that serves."""
    rank = cluster.rank(model, 1, group_socket)
    leader = cluster.rank(model, 0, group_socket).wait_ready()
    coordinator = cluster.coordinator(model, [leader.target]).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    return leader, rank, coordinator


def short_answer(target):
    request = chat("Hello.", sampling=GREEDY, ignore_eos=True, max_new_tokens=5)
    return read_answer(Stub(target).Generate(request))


def test_ranks_by_hand_serve_and_leave_with_their_leader(cluster, tiny_model, group_socket):
    leader, rank, coordinator = serve_by_hand(cluster, tiny_model, group_socket)
    short_answer(coordinator.target)
    assert len(leader.metrics_addresses()) == 2
    leader.send(signal.SIGTERM)
    assert leader.wait(SOON_SECONDS) == 0
    assert rank.wait(SOON_SECONDS) == 0


def test_a_rank_with_another_model_is_refused_and_costs_nothing(
    cluster, tiny_model, smollm2, group_socket
):
    leader = cluster.rank(tiny_model, 0, group_socket)
    other = cluster.rank(smollm2, 1, group_socket)
    other.expected_exit = 1
    assert other.wait(SOON_SECONDS) == 1, other.log()
    assert "rank 1 has another model" in leader.log()
    rank = cluster.rank(tiny_model, 1, group_socket)
    leader.wait_ready()
    leader.send(signal.SIGTERM)
    assert leader.wait(SOON_SECONDS) == 0
    assert rank.wait(SOON_SECONDS) == 0


def test_strangers_at_the_socket_keep_no_group_from_forming(cluster, tiny_model, group_socket):
    leader = cluster.rank(tiny_model, 0, group_socket)
    leader.wait_for_log("waiting for ranks")
    silent, garbage, closed = (socket.socket(socket.AF_UNIX) for _ in range(3))
    for stranger in (silent, garbage, closed):
        stranger.connect("\0" + group_socket[1:])
    garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
    closed.close()
    rank = cluster.rank(tiny_model, 1, group_socket)
    leader.wait_ready()
    assert "turned away process" in leader.log()
    silent.close()
    garbage.close()
    leader.send(signal.SIGTERM)
    assert leader.wait(SOON_SECONDS) == 0
    assert rank.wait(SOON_SECONDS) == 0


def test_a_leader_that_was_killed_while_forming_leaves_no_obstacle(cluster, tiny_model):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = f"{folder}/group"
        killed = cluster.rank(tiny_model, 0, path)
        killed.wait_for_log("waiting for ranks")
        killed.expected_exit = -signal.SIGKILL
        killed.send(signal.SIGKILL)
        killed.wait(SOON_SECONDS)
        rank = cluster.rank(tiny_model, 1, path)
        leader = cluster.rank(tiny_model, 0, path).wait_ready()
        leader.send(signal.SIGTERM)
        assert leader.wait(SOON_SECONDS) == 0
        assert rank.wait(SOON_SECONDS) == 0
        assert not os.listdir(folder)


def test_a_leader_that_dies_while_a_rank_loads_ends_the_load(cluster, smollm2, group_socket):
    leader = cluster.rank(smollm2, 0, group_socket)
    rank = cluster.rank(smollm2, 1, group_socket)
    leader.expected_exit = -signal.SIGKILL
    leader.wait_for_log("rank 1 has joined")
    leader.send(signal.SIGKILL)
    rank.expected_exit = 1
    assert rank.wait(SOON_SECONDS) == 1
    assert "the leader is gone" in rank.log()
    assert "rank 1 of 2" not in rank.log()


# --- Ranks that the leader started ---


def test_an_inherited_ignored_sigchld_hides_no_death(cluster, tiny_model):
    leader = cluster.worker(tiny_model, tp=2, prefix=["env", "--ignore-signal=CHLD"]).wait_ready()
    (rank,) = leader.ranks()
    rank.kill()
    leader.wait_for_log("the group serves again")
    assert "rank 1 was killed by signal 9" in leader.log()


def test_a_rank_that_does_not_come_to_a_collective_is_left_behind(cluster, tiny_model):
    patient = ["--step_timeout", "1s", "--stall_timeout", "10s"]
    serving = cluster.serve(tiny_model, tp=2, worker_flags=patient)
    request = chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=4000)
    stream = serving.stub().Generate(request)
    first_delta(stream)
    (rank,) = serving.worker.ranks()
    # Nothing is left behind, not even by a leader that cannot clean up.
    assert any(argument.startswith("--group_socket=@") for argument in rank.cmdline())
    rank.suspend()
    serving.worker.wait_for_log("the group serves again")
    assert "rank 1 did not come to a collective in time" in serving.worker.log()
    # It never left the step, so the next epoch was lost too.
    first_delta(stream)
    stream.cancel()
    serving.wait_idle()
