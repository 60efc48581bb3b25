"""Weights that differ under the same headers are seen: between worker groups, and within one."""

import os
import shutil
import uuid

import pytest
from harness import GREEDY, Stub, chat, path_of, read_answer, scrape, wait_for_health, wait_until

from phalanx.v1 import inference_pb2 as pb

SOON_SECONDS = 15


@pytest.fixture
def group_socket():
    return f"@phalanx-test-{uuid.uuid4().hex}"


def damaged_copy(model, folder, num_bytes):
    """The model's file with some bytes of tensor data changed, about two thirds down.

    The low bits only: of a 16-bit scale these are mantissa, so that no weight becomes infinite.
    """
    path = folder / "damaged.gguf"
    shutil.copyfile(model, path)
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) * 2 // 3)
        old = file.read(num_bytes)
        file.seek(-num_bytes, os.SEEK_CUR)
        file.write(bytes(byte ^ 0x03 for byte in old))
    return str(path)


def groups(coordinator, state):
    return scrape(coordinator.metrics_addresses()[0]).total("phalanx_worker_groups", state=state)


def answer_of(stub):
    question = chat("Name three colours.", sampling=GREEDY, max_new_tokens=12)
    return read_answer(stub.Generate(question)).text


def test_a_group_with_other_weights_gets_no_requests(cluster, tmp_path, smollm2):
    good = cluster.worker(smollm2).wait_ready()
    bad = cluster.worker(damaged_copy(smollm2, tmp_path, 12 << 10)).wait_ready()
    # One coordinator sees one group first, the other the other.
    first = cluster.coordinator(smollm2, [good.target]).wait_ready()
    wait_for_health(first.target, "SERVING")
    expected = answer_of(Stub(first.target))

    both = cluster.coordinator(smollm2, [good.target, bad.target]).wait_ready()
    wait_for_health(both.target, "SERVING")
    wait_until(lambda: groups(both, "refused") == 1, "one of the two groups is refused")
    assert groups(both, "serving") == 1
    answers = {answer_of(Stub(both.target)) for _ in range(6)}
    assert len(answers) == 1, answers
    assert "has other weights than worker group" in both.log()
    # Which of the two was first is chance; the digest tells.
    digest = Stub(first.target).GetModel(pb.GetModelRequest()).weights_digest
    assert len(digest) == 32 and digest in good.log() and digest not in bad.log()
    if Stub(both.target).GetModel(pb.GetModelRequest()).weights_digest == digest:
        assert answers == {expected}


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
    rank = cluster.rank(tiny_model, 1, group_socket, program=str(other_build))
    for program in (leader, rank):
        program.expected_exit = 1
        assert program.wait(SOON_SECONDS) == 1, program.log()
    assert "rank 1 is another build of the worker" in leader.log()
