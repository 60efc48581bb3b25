"""What a request can ask of its tokens, on the real model: docs/sampling.md."""

import grpc
import pytest
from harness import GREEDY, chat, pb

FREE = {"temperature": 1, "top_k": 0, "top_p": 1}


class Answer:
    def __init__(self, stream):
        self.tokens, self.log_probs, self.prompt_log_probs = [], [], []
        self.text = ""
        # How many tokens came in each event that had some.
        self.tokens_of_events = []
        for event in stream:
            kind = event.WhichOneof("event")
            if kind == "started":
                self.started = event.started
            elif kind == "prompt_log_probs":
                assert not self.tokens
                assert event.prompt_log_probs.position == 1 + len(self.prompt_log_probs)
                self.prompt_log_probs.extend(event.prompt_log_probs.log_probs)
            elif kind == "delta":
                self.tokens.extend(event.delta.token_ids)
                self.text += event.delta.text
                if event.delta.token_ids:
                    self.tokens_of_events.append(len(event.delta.token_ids))
                self.log_probs.extend(event.delta.log_probs)
            else:
                self.finished = event.finished


def ask(stub, text="Tell me about the sea.", **options):
    options.setdefault("max_new_tokens", 24)
    options.setdefault("sampling", GREEDY)
    return Answer(stub.Generate(chat(text, **options)))


def test_log_probs_are_those_of_score(stub):
    """Also where a penalty and a bias change what is drawn."""
    prompt = list(stub.Tokenize(pb.TokenizeRequest(chat=chat("Name a colour.").chat)).token_ids)
    for sampling in (
        pb.Sampling(seed=3, **FREE),
        pb.Sampling(seed=3, repetition_penalty=1.3, frequency_penalty=0.5, **FREE),
    ):
        request = pb.GenerateRequest(
            tokens=pb.TokenIds(ids=prompt),
            sampling=sampling,
            max_new_tokens=16,
            log_probs=pb.LogProbs(top=4, prompt=True),
        )
        answer = Answer(stub.Generate(request))
        assert len(answer.log_probs) == len(answer.tokens)
        scored = []
        whole = pb.TokenIds(ids=prompt + answer.tokens)
        for event in stub.Score(pb.ScoreRequest(tokens=whole)):
            scored.extend(event.delta.log_probs)
        assert answer.prompt_log_probs == scored[: len(prompt) - 1]
        assert [token.log_prob for token in answer.log_probs] == scored[len(prompt) - 1 :]
        for token_id, told in zip(answer.tokens, answer.log_probs, strict=True):
            assert len(told.top) == 4
            values = [other.log_prob for other in told.top]
            assert values == sorted(values, reverse=True)
            for other in told.top:
                if other.token_id == token_id:
                    assert other.log_prob == told.log_prob


def test_the_likeliest_token_is_the_greedy_one(stub):
    answer = ask(stub, log_probs=pb.LogProbs(top=1))
    assert [token.top[0].token_id for token in answer.log_probs] == answer.tokens


def test_a_forbidden_token_does_not_come_and_a_wanted_one_does(stub):
    plain = ask(stub).tokens
    bias = [pb.LogitBias(token_id=plain[0], bias=-100)]
    without = ask(stub, sampling=pb.Sampling(temperature=0, logit_bias=bias)).tokens
    assert plain[0] not in without
    bias[0].bias = 100
    assert set(ask(stub, sampling=pb.Sampling(temperature=0, logit_bias=bias)).tokens) == {plain[0]}


def test_an_answer_has_its_least_length(stub):
    short = ask(stub, "Say only: yes", max_new_tokens=60)
    assert short.finished.reason == pb.FINISH_REASON_STOP
    least = len(short.tokens) + 10
    longer = ask(stub, "Say only: yes", max_new_tokens=60, min_new_tokens=least)
    assert len(longer.tokens) >= least
    assert longer.tokens[: len(short.tokens) - 1] == short.tokens[:-1]


def test_a_stop_token_ends_the_answer_and_is_named(stub):
    plain = ask(stub).tokens
    stop = next(token for token in plain[3:] if token not in plain[:3])
    answer = ask(stub, stop_token_ids=[stop])
    assert answer.tokens == plain[: plain.index(stop) + 1]
    assert answer.finished.reason == pb.FINISH_REASON_STOP
    assert answer.finished.stop_token_id == stop


def test_an_answer_in_circles_ends(stub):
    repeated = [pb.LogitBias(token_id=ask(stub).tokens[0], bias=100)]
    answer = ask(
        stub,
        max_new_tokens=200,
        sampling=pb.Sampling(temperature=0, logit_bias=repeated),
        repetition_limit=pb.RepetitionLimit(times=5, min_tokens=20),
    )
    assert answer.finished.reason == pb.FINISH_REASON_REPETITION
    assert len(answer.tokens) == 20


def test_tokens_come_several_at_a_time_and_are_the_same(stub):
    sampling = pb.Sampling(seed=5, **FREE)
    single = ask(stub, max_new_tokens=40, sampling=sampling, log_probs=pb.LogProbs(top=2))
    together = ask(
        stub, max_new_tokens=40, sampling=sampling, log_probs=pb.LogProbs(top=2), stream_interval=7
    )
    assert together.tokens == single.tokens
    assert together.text == single.text
    assert together.log_probs == single.log_probs
    assert together.finished.reason == single.finished.reason
    first, *others, last = together.tokens_of_events
    assert first == 1
    # More, if the client was late.
    assert all(tokens >= 7 for tokens in others)
    assert sum(others) + last == len(single.tokens) - 1
    assert len(together.tokens_of_events) < len(single.tokens) / 4


def test_a_stop_string_ends_an_answer_whose_tokens_come_together(stub):
    plain = ask(stub, max_new_tokens=40)
    stop = plain.text[30:36]
    for interval in (1, 5, 256):
        answer = ask(stub, max_new_tokens=40, stop=[stop], stream_interval=interval)
        assert answer.text == plain.text[: plain.text.index(stop)]
        assert answer.finished.reason == pb.FINISH_REASON_STOP
        assert answer.tokens == plain.tokens[: len(answer.tokens)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_probs": pb.LogProbs(top=99)}, "log_probs.top: 99 is not in [0, 20]"),
        ({"stream_interval": 0}, "stream_interval: 0 is not in [1, 256]"),
        ({"stream_interval": 257}, "stream_interval: 257 is not in [1, 256]"),
        ({"min_new_tokens": 25}, "min_new_tokens: 25 is not in [0, 24]"),
        ({"stop_token_ids": [10**6]}, "stop_token_ids[0]: 1000000 is not in"),
        ({"sampling": pb.Sampling(min_p=2)}, "sampling.min_p: 2 is not in [0, 1]"),
    ],
)
def test_what_is_out_of_range_is_named(stub, options, message):
    with pytest.raises(grpc.RpcError) as caught:
        ask(stub, **options)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()
