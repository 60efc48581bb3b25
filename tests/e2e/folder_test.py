"""Hugging Face folders are served like GGUF files, and a broken one is refused with its file and key."""

import json
import subprocess

import pytest
from harness import GREEDY, chat, path_of, pb, read_answer


def answer_across_the_border(serving):
    """Greedy, from a prompt within LongRoPE's original context to far beyond it."""
    request = pb.GenerateRequest(text="abc", sampling=GREEDY, ignore_eos=True, max_new_tokens=150)
    return read_answer(serving.stub().Generate(request))


def test_serves_a_folder_on_two_ranks(cluster, tiny_folder):
    serving = cluster.serve(str(tiny_folder), tp=2)
    model = serving.stub().GetModel(pb.GetModelRequest())
    assert (model.name, model.architecture) == ("tiny-phi", "phi3")
    assert model.has_chat_template
    answer = read_answer(serving.stub().Generate(chat("Hello", sampling=GREEDY, max_new_tokens=5)))
    assert answer.token_ids
    serving.wait_idle()


def test_a_folder_in_a_cache_is_called_by_its_repository(cluster, tiny_folder, tmp_path):
    snapshot = tmp_path / "hub/models--org--Tiny-Reasoning/snapshots/0e3b1e2d02ee478a"
    snapshot.parent.mkdir(parents=True)
    tiny_folder.rename(snapshot)
    stub = cluster.serve(f"{snapshot}/.").stub()
    model = stub.GetModel(pb.GetModelRequest(model="Tiny-Reasoning"))
    assert (model.name, model.reasons) == ("Tiny-Reasoning", True)


def test_the_policy_of_long_rope_is_told_and_followed(cluster, tiny_folder):
    tokens = {}
    for policy in ("admission", "reference"):
        flags = ["--longrope", policy]
        serving = cluster.serve(str(tiny_folder), coordinator_flags=flags)
        answer = answer_across_the_border(serving)
        told = answer.started.long_rope
        assert pb.LongRopePolicy.Name(told.policy) == f"LONG_ROPE_POLICY_{policy.upper()}"
        assert told.original_context_tokens == 64
        assert told.long_from_start == (policy == "admission")
        tokens[policy] = list(answer.token_ids)
    # The lists differ from the first step on.
    assert tokens["admission"] != tokens["reference"]


def test_a_chat_of_unknown_length_is_as_the_reference(cluster, tiny_folder):
    """README's first example: nothing but a short message, no flags."""
    serving = cluster.serve(str(tiny_folder))
    stub = serving.stub()
    told = stub.GetModel(pb.GetModelRequest()).long_rope
    assert told.policy == pb.LONG_ROPE_POLICY_REFERENCE
    first_tokens = []
    call = stub.Generate(pb.GenerateRequest(text="abc", sampling=GREEDY, ignore_eos=True))
    for event in call:
        if event.HasField("started"):
            assert event.started.max_new_tokens > 1000
            assert not event.started.long_rope.long_from_start
        first_tokens += event.delta.token_ids
        if len(first_tokens) >= 40:
            break
    call.cancel()
    # The same request with an end within the original context, where every policy has one choice.
    request = pb.GenerateRequest(text="abc", sampling=GREEDY, ignore_eos=True, max_new_tokens=40)
    answer = read_answer(stub.Generate(request))
    assert not answer.started.long_rope.long_from_start
    assert first_tokens[:40] == list(answer.token_ids)
    serving.wait_idle()


@pytest.mark.parametrize("file, key", [("tokenizer.json", "vocab"), ("config.json", "hidden_size")])
def test_refuses_a_broken_folder(cluster, tiny_folder, file, key):
    path = tiny_folder / file
    content = json.loads(path.read_text())
    owner = content["model"] if file == "tokenizer.json" else content
    del owner[key]
    path.write_text(json.dumps(content))
    coordinator = cluster.coordinator(str(tiny_folder), ["127.0.0.1:1"])
    coordinator.expected_exit = 1
    coordinator.wait()
    assert file in coordinator.log() and key in coordinator.log()


def test_inspect_tells_what_would_be_refused(tiny_folder):
    command = [path_of("PHALANX"), "inspect", str(tiny_folder), "--json"]
    good = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(good.stdout)["refused"] == []
    (tiny_folder / "tokenizer.json").unlink()
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 4
    assert "tokenizer.json" in json.loads(bad.stdout)["refused"][0]
