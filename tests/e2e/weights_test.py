"""Weights that differ under the same headers are seen: between worker groups, and within one."""

import os
import shutil
import signal
import uuid

import pytest
from harness import GREEDY, Stub, chat, path_of, read_answer, wait_for_health, wait_until
from metrics_page import scrape

from phalanx.v1 import inference_pb2 as pb

SOON_SECONDS = 15


@pytest.fixture
def group_socket():
    return f"@phalanx-test-{uuid.uuid4().hex}"


# A multiple of the sizes of all blocks of weights that the models here have.
COPIED_FROM_BYTES_BEFORE = 20 << 10


def damaged_copy(model, folder, num_bytes):
    """The model's file with some bytes of tensor data, a third down, replaced by others of the tensor.

    They are replaced by whole blocks, so that all weights stay numbers, of the right size.
    """
    path = folder / "damaged.gguf"
    shutil.copyfile(model, path)
    place = os.path.getsize(path) // 3
    with open(path, "r+b") as file:
        file.seek(max(place - COPIED_FROM_BYTES_BEFORE, place // 2))
        others = file.read(num_bytes)
        file.seek(place)
        assert file.read(num_bytes) != others
        file.seek(place)
        file.write(others)
    return str(path)


def groups(coordinator, state):
    return scrape(coordinator.metrics_addresses()[0]).total("phalanx_worker_groups", state=state)


def answer_of(coordinator):
    question = chat("Name three colours.", sampling=GREEDY, max_new_tokens=24)
    return read_answer(Stub(coordinator.target).Generate(question)).text


@pytest.mark.parametrize("first", [0, 1])
def test_a_group_with_other_weights_gets_no_requests(cluster, tmp_path, smollm2, first):
    models = [smollm2, damaged_copy(smollm2, tmp_path, 12 << 10)]
    workers = [cluster.worker(model).wait_ready() for model in models]
    alone = [cluster.coordinator(smollm2, [worker.target]).wait_ready() for worker in workers]
    for coordinator in alone:
        wait_for_health(coordinator.target, "SERVING")
    answers = [answer_of(coordinator) for coordinator in alone]
    assert answers[0] != answers[1]

    # The other group says nothing until the first one is known.
    workers[1 - first].send(signal.SIGSTOP)
    both = cluster.coordinator(smollm2, [worker.target for worker in workers]).wait_ready()
    wait_for_health(both.target, "SERVING")
    workers[1 - first].send(signal.SIGCONT)
    wait_until(lambda: groups(both, "refused") == 1, "the other group is refused")
    assert groups(both, "serving") == 1
    assert {answer_of(both) for _ in range(6)} == {answers[first]}
    digest = Stub(both.target).GetModel(pb.GetModelRequest()).weights_digest
    assert len(digest) == 32
    assert digest in workers[first].log() and digest not in workers[1 - first].log()
    text = f"worker group {workers[1 - first].target} has other weights than worker group {workers[first].target}"
    assert text in both.log()


def test_a_rank_with_other_weights_ends_its_group(cluster, tmp_path, tiny_model, group_socket):
    leader = cluster.rank(tiny_model, 0, group_socket)
    rank = cluster.rank(damaged_copy(tiny_model, tmp_path, 1), 1, group_socket)
    leader.expected_exit = 1
    assert leader.wait(SOON_SECONDS) == 1, leader.log()
    assert "rank 1 has other weights" in leader.log()
    # It was told to leave.
    assert rank.wait(SOON_SECONDS) == 0, rank.log()


def test_a_rank_of_another_build_is_refused(cluster, tmp_path, tiny_model, group_socket):
    other_build = tmp_path / "worker"
    shutil.copy(path_of("WORKER"), other_build)
    other_build.chmod(0o755)
    with open(other_build, "ab") as program:
        program.write(b"\0")
    leader = cluster.rank(tiny_model, 0, group_socket)
    other = cluster.rank(tiny_model, 1, group_socket, program=str(other_build))
    other.expected_exit = 1
    assert other.wait(SOON_SECONDS) == 1, other.log()
    assert "rank 1 is another build of the worker" in leader.log()
    # Its place has stayed free for the right one.
    cluster.rank(tiny_model, 1, group_socket)
    leader.wait_ready()
