"""What a request gives beside others is what it gives alone, bit for bit, on the real model.

200 random requests, many of them at once, go through a worker whose KV cache holds a few of them
only, so that they wait, share prefixes, are computed in chunks and are interrupted; copies of some
are cancelled between them, and half of them have their tokens guessed. Each is compared with what a
roomy worker without a prefix cache gave for it alone.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import random

import pytest
from harness import Cluster, path_of, pb

REQUESTS = 200
# Calls at once.
CALLS = 48
# As the program computes by itself; prefix_cache_test.py does the same with float32.
ARITHMETIC = ["--activations", "auto"]
# A KV cache of three or four requests' worth.
TINY = [*ARITHMETIC, "--kv_cache_tokens", "192", "--context_tokens", "160", "--max_seqs", "16"]
ROOMY = [*ARITHMETIC, "--kv_cache_tokens", "4096", "--prefix_cache=false"]
TEXT = pathlib.Path(path_of("TEXT")).read_text()[:20000]

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CONSTRAINTS = [
    pb.Constraint(json_schema=json.dumps(SCHEMA)),
    pb.Constraint(regex=r"[A-Z][a-z]{2,9}(, [a-z]{1,6}){1,3}\."),
    pb.Constraint(choices=pb.Choices(values=["yes", "no", "perhaps", "that depends on the sea"])),
    pb.Constraint(lark='start: sum\nsum: N ("+" N){1,3}\nN: /[1-9][0-9]?/'),
]


# --- Requests ---


def slice_of_text(rng, low, high):
    begin = rng.randrange(len(TEXT) - high)
    return TEXT[begin : begin + rng.randint(low, high)]


def random_sampling(rng):
    def sometimes(value):
        return value if rng.random() < 0.35 else None

    asked = {
        "temperature": rng.choice([0, 0.4, 0.8, 1, 1.5, 2.5]),
        "seed": rng.getrandbits(64) >> rng.choice([0, 40]),
        "top_k": sometimes(rng.choice([3, 40, 1000])) or 0,
        "top_p": sometimes(rng.uniform(0.3, 0.99)) or 1,
        "min_p": sometimes(rng.uniform(0.01, 0.2)),
        "typical_p": sometimes(rng.uniform(0.3, 0.99)),
        "repetition_penalty": sometimes(rng.uniform(0.8, 1.5)),
        "presence_penalty": sometimes(rng.uniform(-1, 2)),
        "frequency_penalty": sometimes(rng.uniform(-0.5, 1)),
    }
    sampling = pb.Sampling(**{name: value for name, value in asked.items() if value is not None})
    if rng.random() < 0.3:
        for token in rng.sample(range(49000), 20):
            sampling.logit_bias.add(token_id=token, bias=rng.uniform(-5, 8))
    return sampling


def random_prompt(rng, beginnings):
    beginning = rng.choice(beginnings) if rng.random() < 0.6 else ""
    text = beginning + slice_of_text(rng, 5, 50)
    if rng.random() < 0.3:
        return {"chat": pb.Chat(messages=[pb.Message(role="user", content=text)])}
    return {"text": text}


def random_request(rng, beginnings):
    request = pb.GenerateRequest(
        **random_prompt(rng, beginnings),
        sampling=random_sampling(rng),
        max_new_tokens=rng.choice([2, 6, 50]),
        n=rng.choice([2, 3, 4]) if rng.random() < 0.15 else 1,
    )
    if rng.random() < 0.2:
        request.constraint.CopyFrom(rng.choice(CONSTRAINTS))
        request.max_new_tokens = 20
    elif rng.random() < 0.2:
        request.min_new_tokens = rng.randint(1, request.max_new_tokens)
    elif rng.random() < 0.5:
        request.ignore_eos = True
    if rng.random() < 0.2:
        request.stop.extend(rng.sample([" the", "e", "\n", ", and", "you", ". "], 2))
    if rng.random() < 0.1:
        request.stop_token_ids.extend(rng.sample(range(10, 1000), 64))
    if rng.random() < 0.3:
        request.log_probs.top = rng.randint(0, 5)
        request.log_probs.prompt = rng.random() < 0.3
    if rng.random() < 0.1:
        request.repetition_limit.times = 2
        request.repetition_limit.min_tokens = 2
    if rng.random() < 0.3:
        request.priority = rng.randint(-10, 10)
    if rng.random() < 0.5:
        request.tenant = rng.choice(["red", "green", "blue"])
    if rng.random() < 0.1:
        request.cache_salt = rng.choice(["salt", "pepper"])
    return request


def random_requests(seed, count):
    rng = random.Random(seed)
    beginnings = [slice_of_text(rng, 60, 120) for _ in range(4)]
    return [random_request(rng, beginnings) for _ in range(count)]


def with_what_changes_no_answer(requests):
    """The same requests: of about half the next tokens are guessed, or come several at a time."""
    rng = random.Random(3)
    asked = []
    for request in requests:
        asked.append(pb.GenerateRequest())
        asked[-1].CopyFrom(request)
        if rng.random() < 0.5:
            asked[-1].speculation.max_draft_tokens = rng.randint(1, 32)
        if rng.random() < 0.5:
            asked[-1].stream_interval = rng.randint(1, 20)
    return asked


def choice_alone(request, choice):
    """The request for only this one of its choices."""
    alone = pb.GenerateRequest()
    alone.CopyFrom(request)
    alone.n = 1
    alone.sampling.seed = (request.sampling.seed + choice) % 2**64
    return alone


# --- Answers ---


@dataclasses.dataclass
class Choice:
    token_ids: list = dataclasses.field(default_factory=list)
    # Log-probabilities as they came over the wire.
    log_probs: list = dataclasses.field(default_factory=list)
    text: str = ""
    # Reason, stop string and stop token; none of a choice that was cancelled.
    end: tuple = None


@dataclasses.dataclass
class Answer:
    choices: list
    prompt_log_probs: list = dataclasses.field(default_factory=list)


def ask(stub, request, events=None):
    """The answer; or, cancelled, what has come of it after so many events, at once if below 0."""
    answer = Answer([Choice() for _ in range(request.n)])
    stream = stub.Generate(request, timeout=300)
    if events is not None and events < 0:
        stream.cancel()
        return answer
    for count, event in enumerate(stream):
        if count == events:
            stream.cancel()
            return answer
        if event.HasField("prompt_log_probs"):
            answer.prompt_log_probs += event.prompt_log_probs.log_probs
        elif event.HasField("delta"):
            choice = answer.choices[event.delta.choice]
            choice.token_ids += event.delta.token_ids
            choice.log_probs += [p.SerializeToString(deterministic=True) for p in event.delta.log_probs]
            choice.text += event.delta.text
        elif event.HasField("finished"):
            end = event.finished
            stops = [getattr(end, name) if end.HasField(name) else None for name in ("stop", "stop_token_id")]
            answer.choices[end.choice].end = (end.reason, *stops)
    return answer


def ask_alone(stub, request):
    """The same answer, each of its choices by a request of its own, one after the other."""
    alone = [ask(stub, choice_alone(request, i)) for i in range(request.n)]
    return Answer([answer.choices[0] for answer in alone], alone[0].prompt_log_probs)


def differences(answer, alone):
    """Where a whole answer is another than that of the request alone, for people."""
    found = []
    for i, (choice, expected) in enumerate(zip(answer.choices, alone.choices)):
        for field in ("token_ids", "log_probs", "text", "end"):
            have, want = getattr(choice, field), getattr(expected, field)
            if have != want:
                found.append(f"{field} of choice {i}: {have} in place of {want}")
    if answer.prompt_log_probs != alone.prompt_log_probs:
        found.append("prompt_log_probs")
    return found


def is_beginning(part, whole):
    """Whether what came before the call was cancelled is how the whole answer begins."""
    return all(
        whole_choice.token_ids[: len(choice.token_ids)] == choice.token_ids
        and whole_choice.log_probs[: len(choice.log_probs)] == choice.log_probs
        and whole_choice.text.startswith(choice.text)
        for choice, whole_choice in zip(part.choices, whole.choices)
    )


# --- Tests ---


@pytest.fixture(scope="module")
def alone(tmp_path_factory, smollm2):
    """Asks for the answers of requests alone, by the number of ranks, once each."""
    answers = {}

    def ask_all(requests, tp=1):
        have = answers.setdefault(tp, [])
        if len(have) < len(requests):
            programs = Cluster(tmp_path_factory.mktemp("alone"))
            stub = programs.serve(smollm2, tp=tp, worker_flags=ROOMY).stub()
            have += [ask_alone(stub, request) for request in requests[len(have) :]]
            programs.stop()
        return have[: len(requests)]

    return ask_all


@pytest.mark.parametrize(
    "count, tp, flags",
    [
        (REQUESTS, 1, ["--max_step_tokens", "24"]),
        (REQUESTS // 2, 1, ["--max_step_tokens", "56", "--steps_in_flight", "2"]),
        (REQUESTS // 2, 2, ["--max_step_tokens", "37"]),
        (REQUESTS // 2, 2, ["--max_step_tokens", "41", "--steps_in_flight", "2"]),
    ],
)
def test_answers_in_a_crowd_are_those_alone(cluster, smollm2, alone, count, tp, flags):
    requests = random_requests(1, REQUESTS)[:count]
    expected = alone(requests, tp)
    requests = with_what_changes_no_answer(requests)
    rng = random.Random(2)
    # Calls to make, in order: a request and how many events to read before it is cancelled.
    calls = [(i, None) for i in range(count)]
    calls += [(rng.randrange(count), rng.randrange(-2, 12)) for _ in range(count // 5)]
    rng.shuffle(calls)

    serving = cluster.serve(smollm2, tp=tp, worker_flags=[*TINY, *flags])
    stub = serving.stub()
    with concurrent.futures.ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(lambda call: ask(stub, requests[call[0]], call[1]), calls))
    wrong = []
    for (i, events), answer in zip(calls, answers):
        if events is None:
            wrong += [f"request {i}: {text}\n{requests[i]}" for text in differences(answer, expected[i])]
        elif not is_beginning(answer, expected[i]):
            wrong.append(f"request {i}, cancelled: {answer} in place of {expected[i]}\n{requests[i]}")
    assert not wrong, f"{len(wrong)} differ, the first:\n{wrong[0]}"

    engine = serving.engine()
    preemptions = engine.total("phalanx_engine_preemptions_total")
    hits = engine.total("phalanx_engine_prefix_cache_hit_tokens_total")
    accepted = engine.total("phalanx_speculation_accepted_tokens_total")
    drafted = engine.total("phalanx_speculation_drafted_tokens_total")
    print(f"{preemptions} preemptions, {hits} prompt tokens from the prefix cache")
    print(f"{accepted} of {drafted} guesses were right")
    assert preemptions > 0 and hits > 0 and drafted > accepted > 0
    assert engine.total("phalanx_engine_requests_total", code="CANCELLED") > 0
    serving.wait_idle()


def test_the_requests_are_of_all_kinds_and_their_answers_differ(alone):
    requests = random_requests(1, REQUESTS)
    assert sum(request.n > 1 for request in requests) >= 20
    for kind in ("json_schema", "regex", "choices", "lark"):
        assert any(request.constraint.WhichOneof("kind") == kind for request in requests), kind
    answers = alone(requests)
    choices = [choice for answer in answers for choice in answer.choices]
    assert len({tuple(choice.token_ids) for choice in choices}) > len(choices) * 0.7
    reasons = {choice.end[0] for choice in choices}
    assert reasons >= {pb.FINISH_REASON_STOP, pb.FINISH_REASON_LENGTH, pb.FINISH_REASON_REPETITION}
    assert any(choice.end[1] is not None for choice in choices), "none met its stop string"


def test_other_seeds_would_be_noticed(cluster, smollm2, alone):
    stub = cluster.serve(smollm2, worker_flags=TINY).stub()
    requests = random_requests(1, REQUESTS)
    asked = list(zip(requests, alone(requests)))
    hot = [(r, a) for r, a in asked if r.sampling.temperature >= 1 and r.max_new_tokens > 5][:10]
    assert not any(differences(ask(stub, request), answer) for request, answer in hot)
    for request, _ in hot:
        request.sampling.seed ^= 1
    assert sum(bool(differences(ask(stub, request), answer)) for request, answer in hot) >= 5
