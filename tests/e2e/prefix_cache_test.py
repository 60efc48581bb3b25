"""A prompt that was sent before is answered sooner, and by the same tokens."""

import grpc
import pytest
from harness import Cluster, pb, read_answer, status_of

def ask(stub, prompt, salt=None, max_new_tokens=8, temperature=0.0):
    request = pb.GenerateRequest(
        tokens=pb.TokenIds(ids=prompt),
        sampling=pb.Sampling(temperature=temperature, seed=5),
        max_new_tokens=max_new_tokens,
        ignore_eos=True,
    )
    if salt is not None:
        request.cache_salt = salt
    return stub.Generate(request)


def cached(answer):
    return answer.finished.usage.cached_tokens


def prompt_of(length, seed=1):
    return [(i * i + 7919 * seed + 13 * i) % 40000 + 300 for i in range(length)]


def test_the_second_answer_needs_only_the_end_of_its_prompt(serving, stub):
    prompt = prompt_of(500)
    before = serving.engine()
    first = read_answer(ask(stub, prompt))
    second = read_answer(ask(stub, prompt))
    assert cached(first) == 0
    assert cached(second) == 496
    assert second.token_ids == first.token_ids
    longer = read_answer(ask(stub, prompt + first.token_ids + [300] * 20))
    assert cached(longer) == 496
    after = serving.engine()

    def grown(name):
        return after.total(name) - before.total(name)

    assert grown("phalanx_engine_prefix_cache_queried_tokens_total") == 500 + 500 + 528
    assert grown("phalanx_engine_prefix_cache_hit_tokens_total") == 496 + 496
    assert after.total("phalanx_engine_kv_blocks_cached") >= 31


def test_salts_keep_callers_apart(stub):
    prompt = prompt_of(100, seed=2)
    assert cached(read_answer(ask(stub, prompt, salt="a"))) == 0
    assert cached(read_answer(ask(stub, prompt))) == 0
    assert cached(read_answer(ask(stub, prompt, salt="b"))) == 0
    assert cached(read_answer(ask(stub, prompt, salt="a"))) == 96


def test_an_empty_salt_is_refused(stub):
    code, details = status_of(ask(stub, prompt_of(5), salt=""))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("cache_salt: ")


def test_scores_are_those_of_a_prompt_that_is_not_known(stub):
    request = pb.ScoreRequest(tokens=pb.TokenIds(ids=prompt_of(200, seed=3)))

    def scores():
        return [score for event in stub.Score(request) for score in event.delta.log_probs]

    first = scores()
    read_answer(ask(stub, prompt_of(200, seed=3)))
    assert scores() == first
    assert cached(read_answer(ask(stub, prompt_of(200, seed=3)))) == 192


@pytest.mark.parametrize(
    "tp, flags",
    [
        (1, []),
        (2, ["--max_step_tokens", "37"]),
        # Holds two of the four prompts, and their answers only in part.
        (1, ["--kv_cache_tokens", "1024", "--context_tokens", "1024"]),
        (1, ["--steps_in_flight", "2", "--max_step_tokens", "64"]),
        (1, ["--prefix_cache=false"]),
    ],
)
def test_tokens_do_not_depend_on_it(cluster, smollm2, reference, tp, flags):
    serving = cluster.serve(smollm2, tp=tp, worker_flags=flags)
    stub = serving.stub()
    hits = 0
    for _ in range(2):
        # All at once, so that they wait for room, share and preempt.
        streams = [ask(stub, prompt, max_new_tokens=60, temperature=1.0) for prompt in PROMPTS]
        answers = [read_answer(stream) for stream in streams]
        hits += sum(cached(answer) for answer in answers)
        assert [answer.token_ids for answer in answers] == reference[tp]
    assert (hits > 0) == ("--prefix_cache=false" not in flags)
    serving.wait_idle()


# Two beginnings, two ends each.
PROMPTS = [prompt_of(300, seed=a) + prompt_of(90, seed=b) for a in (4, 5) for b in (6, 7)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, smollm2):
    """By the number of ranks: what each prompt gives alone, on a worker without a prefix cache."""
    tokens = {}
    for tp in (1, 2):
        programs = Cluster(tmp_path_factory.mktemp("reference"))
        stub = programs.serve(smollm2, tp=tp, worker_flags=["--prefix_cache=false"]).stub()
        tokens[tp] = [
            read_answer(ask(stub, prompt, max_new_tokens=60, temperature=1.0)).token_ids
            for prompt in PROMPTS
        ]
        programs.stop()
    return tokens
