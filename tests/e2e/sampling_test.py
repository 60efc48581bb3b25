"""What a caller asks of sampling changes the answer, and in the way that was asked for."""

import pytest
from harness import GREEDY, chat, pb, read_answer


def request(sampling):
    return chat(
        "Write a sentence about the sea.", sampling=sampling, max_new_tokens=16, ignore_eos=True
    )


def answer(stub, sampling):
    return list(read_answer(stub.Generate(request(sampling))).token_ids)


def test_seeds_give_several_answers(stub):
    free = {"temperature": 1, "top_k": 0, "top_p": 1}
    answers = {tuple(answer(stub, pb.Sampling(seed=seed, **free))) for seed in range(8)}
    assert len(answers - {tuple(answer(stub, GREEDY))}) >= 6


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 1, "top_k": 1, "top_p": 1},
        {"temperature": 100, "top_k": 1, "top_p": 1},
        {"temperature": 1, "top_k": 0, "top_p": 1e-6},
        {"temperature": 1e-4, "top_k": 0, "top_p": 1},
    ],
    ids=["top_k", "top_k when hot", "top_p", "cold"],
)
def test_the_most_probable_token_alone_is_greedy(stub, asked):
    greedy = answer(stub, GREEDY)
    for seed in range(3):
        assert answer(stub, pb.Sampling(seed=seed, **asked)) == greedy


def test_fewer_candidates_and_less_heat_give_more_probable_answers(stub):
    prompt = stub.Tokenize(pb.TokenizeRequest(chat=request(GREEDY).chat)).token_ids

    def log_prob(asked):
        """Of an answer's token, on average over four answers."""
        total = 0
        for seed in range(4):
            tokens = answer(stub, pb.Sampling(seed=seed, **asked))
            score = pb.ScoreRequest(tokens=pb.TokenIds(ids=[*prompt, *tokens]))
            log_probs = []
            for event in stub.Score(score):
                log_probs += event.delta.log_probs
            total += sum(log_probs[-len(tokens) :]) / len(tokens)
        return total / 4

    free = {"temperature": 100, "top_k": 0, "top_p": 1}
    # Any of 49,152 tokens, then any of the best 50, then any of the best 3.
    assert log_prob(free) < -9
    assert -9 < log_prob({**free, "top_k": 50}) < -3
    assert log_prob({**free, "top_k": 50}) < log_prob({**free, "top_k": 3}) - 1
    # As the model would speak, and more careful.
    spoken = {"temperature": 1, "top_k": 0, "top_p": 1}
    assert log_prob(spoken) < log_prob({**spoken, "top_p": 0.5}) - 0.3
    assert log_prob(spoken) < log_prob({**spoken, "temperature": 0.3}) - 0.3
