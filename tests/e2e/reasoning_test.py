"""A model that thinks for too long has its think block closed, and answers."""

import grpc
import pytest
from harness import GREEDY, pb, read_answer, status_of

# The prompt opens the block, since this model does not do so itself.
PROMPT = "What is the capital of France? Think first, then answer.\n<think>\n"
HOT = {"temperature": 1.5, "top_k": 0, "top_p": 1}


def request(max_tokens=None, prompt=PROMPT, max_new_tokens=32, sampling=GREEDY, **fields):
    reasoning = pb.Reasoning(split=True)
    if max_tokens is not None:
        reasoning.max_tokens = max_tokens
    return pb.GenerateRequest(
        text=prompt,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        reasoning=reasoning,
        **fields,
    )


def tokens_of(stub, text):
    return list(stub.Tokenize(pb.TokenizeRequest(text=text, allow_special=True)).token_ids)


def test_the_block_is_closed_and_the_answer_goes_on_from_there(stub):
    closing = tokens_of(stub, "\n</think>")
    free = read_answer(stub.Generate(request(ignore_eos=True)))
    assert free.finished.reason == pb.FINISH_REASON_REASONING_LENGTH
    assert free.text == ""
    assert not free.finished.usage.reasoning_closed
    for max_tokens in [0, 1, 12]:
        answer = read_answer(stub.Generate(request(max_tokens, ignore_eos=True)))
        usage = answer.finished.usage
        assert usage.reasoning_closed
        assert usage.reasoning_tokens == max_tokens + len(closing)
        assert answer.token_ids[:max_tokens] == free.token_ids[:max_tokens]
        assert answer.token_ids[max_tokens : usage.reasoning_tokens] == closing
        # What follows is what follows such a text in any case.
        ids = tokens_of(stub, PROMPT) + answer.token_ids[: usage.reasoning_tokens]
        rest = pb.GenerateRequest(
            tokens=pb.TokenIds(ids=ids),
            sampling=GREEDY,
            max_new_tokens=32 - usage.reasoning_tokens,
            ignore_eos=True,
        )
        replayed = read_answer(stub.Generate(rest))
        assert answer.token_ids[usage.reasoning_tokens :] == replayed.token_ids
        assert answer.text == replayed.text.lstrip()


def test_a_block_that_the_model_closes_itself_is_not_disturbed(stub):
    # After two examples the model does as they do.
    prompt = (
        "Q: 2+3\n<think>\n2 and 3 is 5\n</think>\n5\n\n"
        "Q: 1+6\n<think>\n1 and 6 is 7\n</think>\n7\n\n"
        "Q: 4+4\n<think>\n"
    )
    free = read_answer(stub.Generate(request(prompt=prompt, stop=["Q:"])))
    thought = free.finished.usage.reasoning_tokens
    assert 0 < thought < 30
    assert free.text
    for max_tokens in [thought, thought + 5]:
        answer = read_answer(stub.Generate(request(max_tokens, prompt=prompt, stop=["Q:"])))
        assert answer.token_ids == free.token_ids
        assert not answer.finished.usage.reasoning_closed
    answer = read_answer(stub.Generate(request(3, prompt=prompt, stop=["Q:"])))
    assert answer.finished.usage.reasoning_closed
    assert answer.token_ids[:3] == free.token_ids[:3]


def test_choices_are_closed_as_they_are_alone(stub):
    sampling = pb.Sampling(seed=7, **HOT)
    answers = [[] for _ in range(4)]
    for event in stub.Generate(request(5, sampling=sampling, n=4, ignore_eos=True)):
        if event.HasField("delta"):
            answers[event.delta.choice] += event.delta.token_ids
    for i, tokens in enumerate(answers):
        sampling = pb.Sampling(seed=7 + i, **HOT)
        alone = read_answer(stub.Generate(request(5, sampling=sampling, ignore_eos=True)))
        assert tokens == alone.token_ids


def test_a_constraint_begins_behind_the_tag(stub):
    constraint = pb.Constraint(choices=pb.Choices(values=["Paris", "Rome"]))
    for seed in range(4):
        sampling = pb.Sampling(seed=seed, **HOT)
        answer = read_answer(
            stub.Generate(request(10, sampling=sampling, constraint=constraint, max_new_tokens=64))
        )
        assert answer.text in ("Paris", "Rome")
        assert answer.finished.reason == pb.FINISH_REASON_STOP
        assert answer.finished.usage.reasoning_closed


@pytest.mark.parametrize(
    ("reasoning", "reason"),
    [
        (pb.Reasoning(max_tokens=5), "not known to begin with reasoning"),
        (pb.Reasoning(max_tokens=5, split=False), "together with reasoning.split"),
        (pb.Reasoning(max_tokens=-1, split=True), "-1 is not in"),
    ],
)
def test_limits_of_nothing_are_refused(stub, reasoning, reason):
    asked = pb.GenerateRequest(text=PROMPT, reasoning=reasoning)
    code, details = status_of(stub.Generate(asked))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details
