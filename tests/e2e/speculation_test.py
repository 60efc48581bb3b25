"""Speculation gives the same tokens as without it, several in a step where an answer repeats."""

import json

import grpc
import pytest
from harness import chat, pb, read_answer, status_of

POEM = (
    "The ship sailed out at dawn, past the old lighthouse and the grey cliffs. Seven gulls followed "
    "her to the end of the bay, where the water turns from green to blue. Nobody on board had ever "
    "been so far to the north before."
)
COPY = f"Repeat this text word for word, three times:\n\n{POEM}"
LIST = "Write the numbers from 1 to 60 in words, one on each line."
CODE = "Write ten Python functions add_1(x), add_2(x), up to add_10(x), each of which returns the sum."


def ask(prompt, speculation=None, **fields):
    sampling = pb.Sampling(
        temperature=fields.pop("temperature", 0),
        seed=fields.pop("seed", 7),
        top_k=40,
        top_p=0.95,
    )
    request = chat(prompt, sampling=sampling, **fields)
    if speculation is not None:
        request.speculation.max_draft_tokens = speculation
    return request


def tokens_of(stub, request):
    """The tokens of each choice, their log-probabilities, and the usages."""
    choices = [([], [], None) for _ in range(request.n or 1)]
    for event in stub.Generate(request, timeout=300):
        if event.HasField("delta"):
            choices[event.delta.choice][0].extend(event.delta.token_ids)
            choices[event.delta.choice][1].extend(p.SerializeToString() for p in event.delta.log_probs)
        elif event.HasField("finished"):
            i = event.finished.choice
            choices[i] = (*choices[i][:2], event.finished)
    return choices


def test_the_same_answers_come_in_fewer_steps(serving, stub):
    before = serving.engine()
    drafted = accepted = 0
    for prompt in (COPY, LIST, CODE):
        for temperature in (0, 0.7):
            requests = [
                ask(prompt, speculation, temperature=temperature, max_new_tokens=160)
                for speculation in (None, 1, 8, 32)
            ]
            for request in requests:
                request.log_probs.top = 2
            without, *others = [tokens_of(stub, request)[0] for request in requests]
            assert without[2].usage.drafted_tokens == without[2].usage.accepted_tokens == 0
            for other in others:
                assert other[:2] == without[:2]
                assert other[2].reason == without[2].reason
                usage = other[2].usage
                assert 0 <= usage.accepted_tokens <= usage.drafted_tokens
                drafted += usage.drafted_tokens
                accepted += usage.accepted_tokens
    print(f"{accepted} of {drafted} guesses were right")
    assert accepted > 300
    after = serving.engine()
    for name, count in (("drafted", drafted), ("accepted", accepted)):
        metric = f"phalanx_speculation_{name}_tokens_total"
        assert after.total(metric) - before.total(metric) == count


def test_each_of_several_choices_is_the_same(stub):
    requests = [
        ask(LIST, speculation, temperature=0.7, n=3, max_new_tokens=100) for speculation in (None, 8)
    ]
    without, guessed = [tokens_of(stub, request) for request in requests]
    assert [choice[0] for choice in guessed] == [choice[0] for choice in without]
    assert sum(choice[2].usage.accepted_tokens for choice in guessed) > 5


def test_an_answer_ends_at_its_stop_string_as_without(stub):
    # Within what is guessed.
    for stop in ("lighthouse and the grey cliffs. Seven", "blue", "Nobody on board"):
        requests = [ask(COPY, s, stop=[stop], max_new_tokens=160) for s in (None, 8)]
        without, guessed = [read_answer(stub.Generate(request)) for request in requests]
        assert guessed.text == without.text
        assert guessed.token_ids == without.token_ids
        assert guessed.finished.stop == without.finished.stop
        usage = guessed.finished.usage
        assert usage.accepted_tokens <= usage.completion_tokens


def test_penalties_are_those_without(stub):
    answers = []
    for speculation in (None, 8):
        request = ask(COPY, speculation, temperature=0.5, max_new_tokens=120, min_new_tokens=100)
        request.sampling.frequency_penalty = 0.05
        request.sampling.repetition_penalty = 1.02
        request.sampling.logit_bias.add(token_id=30, bias=1.5)
        answers.append(read_answer(stub.Generate(request)))
    assert answers[1].token_ids == answers[0].token_ids
    assert answers[1].finished.usage.accepted_tokens > 10


ROWS = json.dumps({
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"number": {"type": "integer"}, "word": {"type": "string", "maxLength": 12}},
        "required": ["number", "word"],
        "additionalProperties": False,
    },
    "minItems": 8,
})
CONSTRAINTS = [
    pb.Constraint(regex="(The ship sailed out[.] ){3,5}"),
    pb.Constraint(json_schema=ROWS),
    pb.Constraint(lark='start: (NAME ": " NAME "\\n"){10,20}\nNAME: /[a-z]{3,7}/'),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=["regex", "json_schema", "lark"])
@pytest.mark.parametrize("temperature", [0, 0.7])
def test_constrained_answers_are_those_without(stub, constraint, temperature):
    answers = []
    for speculation in (None, 3, 8):
        request = ask(LIST, speculation, temperature=temperature, max_new_tokens=150, constraint=constraint)
        request.log_probs.top = 2
        answers.append(tokens_of(stub, request)[0])
    without, *others = answers
    for other in others:
        assert other[:2] == without[:2]
        assert other[2].reason == without[2].reason
    usage = others[1][2].usage
    print(f"{usage.accepted_tokens} of {usage.drafted_tokens} guesses were right")
    assert usage.accepted_tokens > (0 if temperature > 0 else 5)


def test_drafts_are_within_the_limits_that_the_model_tells(stub):
    model = stub.GetModel(pb.GetModelRequest())
    assert "speculation" in model.features
    for tokens in (0, model.limits.max_draft_tokens + 1):
        code, details = status_of(stub.Generate(ask(COPY, tokens)))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert details.startswith("speculation.max_draft_tokens: ")
    request = ask(COPY, max_new_tokens=2)
    request.speculation.SetInParent()
    read_answer(stub.Generate(request))


@pytest.mark.parametrize("flags", [[], ["--steps_in_flight", "2"]])
def test_a_copied_text_comes_sooner(cluster, smollm2, flags):
    stub = cluster.serve(smollm2, worker_flags=flags).stub()
    rates = {}
    for speculation in (None, 8):
        answer = read_answer(stub.Generate(ask(COPY, speculation, max_new_tokens=200)))
        seconds = answer.finished.timings.decode_seconds
        rates[speculation] = (len(answer.token_ids) - 1) / seconds
        usage = answer.finished.usage
        print(
            f"speculation {speculation}: {rates[speculation]:.1f} tokens/s, "
            f"{usage.accepted_tokens} of {usage.drafted_tokens} guesses right"
        )
    print(f"{rates[8] / rates[None]:.2f} times as fast")
