"""A model whose logits are no numbers for some inputs: these fail by name, the others go on."""

import subprocess

import grpc
import pytest
from harness import GREEDY, chat, path_of, pb, read_answer, status_of


@pytest.fixture
def broken_model(tmp_path):
    """Path of a model that has no numbers for a Z."""
    path = tmp_path / "broken.gguf"
    subprocess.run([path_of("WRITE_TINY_MODEL"), "broken_gguf", str(path)], check=True)
    return str(path)


@pytest.mark.parametrize("tp", [1, 2])
def test_logits_that_are_no_numbers_are_internal(cluster, broken_model, tp):
    serving = cluster.serve(broken_model, tp=tp)
    stub = serving.stub()
    healthy = chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=40)
    answer = read_answer(stub.Generate(healthy)).token_ids
    # Longer, and it would come upon a Z of its own.
    neighbour = stub.Generate(
        chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=1500)
    )
    sampled = pb.Sampling(temperature=1.0, seed=1)
    for sampling in (GREEDY, sampled):
        stream = stub.Generate(chat("Is Z a letter?", sampling=sampling, max_new_tokens=20))
        code, details = status_of(stream)
        assert code == grpc.StatusCode.INTERNAL
        assert "logits that are not numbers" in details
    code, details = status_of(stub.Score(pb.ScoreRequest(text="Is Z a letter?")))
    assert code == grpc.StatusCode.INTERNAL
    assert "logits that are not numbers" in details
    # The one that ran beside them, and new ones, in blocks that held what is no number.
    assert read_answer(neighbour).token_ids[:40] == answer
    for _ in range(3):
        assert read_answer(stub.Generate(healthy)).token_ids == answer
    serving.wait_idle()
    assert serving.engine().total("phalanx_engine_requests_total", code="INTERNAL") == 3
    assert serving.worker.log().count("logits that are not numbers") == 1
