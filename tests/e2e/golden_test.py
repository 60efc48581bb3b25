"""Greedy answers are those of the reference, token for token, for any number of ranks."""

import json
import pathlib

import pytest
from harness import GREEDY, path_of, pb, read_answer

GOLDEN = json.loads(pathlib.Path(path_of("GOLDEN")).read_text())["answers"]


@pytest.mark.parametrize("tp, steps_in_flight", [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_greedy_tokens_equal_the_reference(cluster, smollm2, tp, steps_in_flight):
    flags = ["--steps_in_flight", str(steps_in_flight)]
    serving = cluster.serve(smollm2, tp=tp, worker_flags=flags)
    stub = serving.stub()
    streams = []
    for golden in GOLDEN:
        messages = [pb.Message(**message) for message in golden["messages"]]
        request = pb.GenerateRequest(
            chat=pb.Chat(messages=messages),
            sampling=GREEDY,
            max_new_tokens=len(golden["token_ids"]),
            ignore_eos=True,
        )
        streams.append(stub.Generate(request))
    for golden, stream in zip(GOLDEN, streams):
        answer = read_answer(stream)
        assert answer.started.prompt_tokens == len(golden["prompt_ids"])
        assert answer.token_ids == golden["token_ids"], golden["messages"]
    serving.wait_idle()


def test_there_are_ten_prompts_of_32_tokens():
    assert len(GOLDEN) == 10
    assert all(len(golden["token_ids"]) == 32 for golden in GOLDEN)
