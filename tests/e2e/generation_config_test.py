"""What a model's makers advise for generation is followed, or told, or the model is refused."""

import json

import pytest
from harness import pb, read_answer


def advise(folder, **keys):
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def model_of(serving):
    return serving.stub().GetModel(pb.GetModelRequest())


def test_a_published_repetition_penalty_is_applied(cluster, tiny_folder):
    """As if the request had set it, and as Qwen2.5's makers advise."""
    request = pb.GenerateRequest(text="abc", ignore_eos=True, max_new_tokens=30)
    request.sampling.CopyFrom(pb.Sampling(seed=1, repetition_penalty=1.5))
    asked = read_answer(cluster.serve(str(tiny_folder)).stub().Generate(request))
    advise(tiny_folder, repetition_penalty=1.5, min_p=0, suppress_tokens=[])
    serving = cluster.serve(str(tiny_folder))
    assert model_of(serving).default_sampling.repetition_penalty == 1.5
    assert not model_of(serving).unfollowed_defaults
    request.sampling.CopyFrom(pb.Sampling(seed=1))
    advised = read_answer(serving.stub().Generate(request))
    assert advised.started.sampling.repetition_penalty == 1.5
    assert advised.token_ids == asked.token_ids
    request.sampling.repetition_penalty = 1
    assert read_answer(serving.stub().Generate(request)).token_ids != asked.token_ids


def test_other_keys_that_are_not_followed_are_refused_or_named_by_the_operator(
    cluster, tiny_folder
):
    advise(tiny_folder, no_repeat_ngram_size=3, of_next_year=True, top_h=0.05)
    refused = cluster.coordinator(str(tiny_folder), ["127.0.0.1:1"])
    refused.expected_exit = 1
    refused.wait()
    keys = "no_repeat_ngram_size,of_next_year,top_h"
    assert f"--ignore_generation_config {keys}" in refused.log()

    flags = ["--ignore_generation_config", keys]
    serving = cluster.serve(str(tiny_folder), coordinator_flags=flags)
    assert [default.key for default in model_of(serving).unfollowed_defaults] == keys.split(",")
    assert "top_h: 0.05 is not followed" in serving.coordinator.log()


def test_lengths_are_followed(cluster, tiny_folder):
    advise(tiny_folder, max_new_tokens=7, max_length=9)
    serving = cluster.serve(str(tiny_folder))
    stub = serving.stub()
    assert model_of(serving).default_max_new_tokens == 7
    answer = read_answer(stub.Generate(pb.GenerateRequest(text="abc", ignore_eos=True)))
    assert answer.started.max_new_tokens == 7
    assert len(answer.token_ids) == 7
    request = pb.GenerateRequest(text="abc", ignore_eos=True, max_new_tokens=12)
    assert len(read_answer(stub.Generate(request)).token_ids) == 12


def test_a_config_speaks_where_there_is_no_generation_config(cluster, tiny_folder):
    (tiny_folder / "generation_config.json").unlink()
    path = tiny_folder / "config.json"
    config = json.loads(path.read_text())
    config.update(do_sample=True, temperature=0.5, top_p=0.75, repetition_penalty=1.1)
    path.write_text(json.dumps(config))
    model = model_of(cluster.serve(str(tiny_folder)))
    assert (model.default_sampling.temperature, model.default_sampling.top_p) == (0.5, 0.75)
    assert model.default_sampling.repetition_penalty == pytest.approx(1.1)
