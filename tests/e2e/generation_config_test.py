"""What a model's makers advise for generation is followed, or told, or the model is refused."""

import json

from harness import pb, read_answer


def advise(folder, **keys):
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def model_of(serving):
    return serving.stub().GetModel(pb.GetModelRequest())


def test_a_published_key_that_is_not_followed_is_told(cluster, tiny_folder):
    advise(tiny_folder, repetition_penalty=1.05, min_p=0, suppress_tokens=[])
    serving = cluster.serve(str(tiny_folder))
    told = model_of(serving).unfollowed_defaults
    assert [(default.key, default.value) for default in told] == [("repetition_penalty", "1.05")]
    assert "generation_config.json: repetition_penalty: 1.05 is not followed" in (
        serving.coordinator.log()
    )


def test_other_keys_that_are_not_followed_are_refused_or_named_by_the_operator(
    cluster, tiny_folder
):
    advise(tiny_folder, min_p=0.05, no_repeat_ngram_size=3, of_next_year=True)
    refused = cluster.coordinator(str(tiny_folder), ["127.0.0.1:1"])
    refused.expected_exit = 1
    refused.wait()
    keys = "min_p,no_repeat_ngram_size,of_next_year"
    assert f"--ignore_generation_config {keys}" in refused.log()

    flags = ["--ignore_generation_config", keys]
    serving = cluster.serve(str(tiny_folder), coordinator_flags=flags)
    assert [default.key for default in model_of(serving).unfollowed_defaults] == keys.split(",")
    assert "min_p: 0.05 is not followed" in serving.coordinator.log()


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
    assert [default.key for default in model.unfollowed_defaults] == ["repetition_penalty"]
