"""The main road: questions in, answers out, over every entrance."""

import json
import re
import subprocess

import pytest
from harness import GREEDY, PATIENCE_SECONDS, chat, health, path_of, pb, read_answer
from metrics_page import scrape

QUESTION = "What is the capital of France?"


def phalanx(serving, *arguments, stdin=""):
    """Runs the client; returns its completed process."""
    return subprocess.run(
        [path_of("PHALANX"), *arguments, "--target", serving.target],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def grpcurl(serving, *arguments, flags=()):
    """Runs grpcurl, which knows our services by reflection alone; returns its output."""
    return subprocess.run(
        [path_of("GRPCURL"), "-plaintext", *flags, serving.target, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    ).stdout


def test_answers_a_question(stub):
    answer = read_answer(stub.Generate(chat(QUESTION, sampling=GREEDY)))
    assert "Paris" in answer.text
    assert answer.finished.reason == pb.FINISH_REASON_STOP
    assert answer.started.request_id
    assert answer.started.max_new_tokens + answer.started.prompt_tokens == 8192
    timings = answer.finished.timings
    assert 0 < timings.time_to_first_token_seconds < PATIENCE_SECONDS
    assert timings.queue_seconds >= 0 and timings.prefill_seconds > 0 and timings.decode_seconds > 0


def test_stops_at_max_new_tokens(stub):
    answer = read_answer(stub.Generate(chat(QUESTION, sampling=GREEDY, max_new_tokens=3)))
    assert len(answer.token_ids) == 3
    assert answer.finished.reason == pb.FINISH_REASON_LENGTH


def test_same_seed_gives_the_same_answer(stub):
    sampling = pb.Sampling(temperature=1.0, top_k=50, top_p=0.9, seed=7)
    request = chat("Tell me a story.", sampling=sampling, max_new_tokens=20)
    first = read_answer(stub.Generate(request))
    assert read_answer(stub.Generate(request)).token_ids == first.token_ids
    told = first.started.sampling
    assert (told.temperature, told.top_k, told.seed) == (1.0, 50, 7)
    assert told.top_p == sampling.top_p
    # What was not asked for has the model's default.
    assert (told.min_p, told.typical_p, told.repetition_penalty) == (0, 1, 1)


def test_a_random_seed_is_told_and_can_be_used_again(stub):
    request = chat("Tell me a story.", sampling=pb.Sampling(temperature=1.0), max_new_tokens=10)
    first = read_answer(stub.Generate(request))
    request.sampling.seed = first.started.sampling.seed
    assert read_answer(stub.Generate(request)).token_ids == first.token_ids


def test_text_tokens_and_chat_are_the_same_prompt(stub):
    tokens = stub.Tokenize(pb.TokenizeRequest(chat=chat(QUESTION).chat))
    by_chat = read_answer(stub.Generate(chat(QUESTION, sampling=GREEDY, max_new_tokens=5)))
    ids = pb.TokenIds(ids=tokens.token_ids)
    by_tokens = read_answer(
        stub.Generate(pb.GenerateRequest(tokens=ids, sampling=GREEDY, max_new_tokens=5))
    )
    assert by_tokens.token_ids == by_chat.token_ids
    assert by_chat.started.prompt_tokens == len(tokens.token_ids)


@pytest.mark.parametrize("text", ["Hello, world", "naïve café — 東京 👩‍👩‍👧 \t\n\x00", " "])
def test_tokens_turn_back_into_their_text(stub, text):
    tokens = stub.Tokenize(pb.TokenizeRequest(text=text))
    assert tokens.text == text
    assert stub.Detokenize(pb.DetokenizeRequest(token_ids=tokens.token_ids)).text == text


def test_describes_its_model(stub):
    models = stub.ListModels(pb.ListModelsRequest()).models
    assert len(models) == 1
    model = models[0]
    assert (model.architecture, model.context_tokens, model.vocab_size) == ("llama", 8192, 49152)
    assert model.has_chat_template and model.serving_groups == 1 and list(model.eos_token_ids)
    assert stub.GetModel(pb.GetModelRequest(model=model.name)) == model
    assert stub.GetModel(pb.GetModelRequest()) == model
    assert model.determinism == pb.DETERMINISM_STRICT
    assert len(model.arithmetic) == 1


@pytest.mark.parametrize("activations, tp, kind", [("auto", 1, r" int8"), ("auto", 2, r" int8"), ("bf16", 2, r" bf16 by \S.*")])
def test_products_are_of_bytes_by_default_and_of_bfloat16_where_wanted(cluster, smollm2, activations, tp, kind):
    serving = cluster.serve(smollm2, tp=tp, worker_flags=["--activations", activations])
    question = chat("How many days are there in a week?", sampling=GREEDY, max_new_tokens=30)
    assert "7 days" in read_answer(serving.stub().Generate(question)).text
    [model] = serving.stub().ListModels(pb.ListModelsRequest()).models
    [arithmetic] = model.arithmetic
    # Behind that stands how attention computes, where it is not in float32.
    assert re.fullmatch(r"\w+" + kind + "(, attention bf16)?", arithmetic), arithmetic
    page = scrape(serving.worker.metrics_addresses()[0]).text
    assert f'phalanx_backend_info{{arithmetic="{arithmetic}",determinism="strict"}} 1' in page


def test_health_is_per_model(serving, stub):
    model = stub.GetModel(pb.GetModelRequest()).name
    assert health(serving.target) == "SERVING"
    assert health(serving.target, model) == "SERVING"
    assert health(serving.target, "no such model") == "NOT_FOUND"
    assert health(serving.worker.target) == "SERVING"
    assert health(serving.worker.target, "phalanx.worker.v1.Engine") == "SERVING"


def test_grpcurl_lists_the_services_and_streams(serving, stub):
    services = grpcurl(serving, "list").split()
    assert "phalanx.v1.Inference" in services and "grpc.health.v1.Health" in services
    request = {
        "chat": {"messages": [{"role": "user", "content": QUESTION}]},
        "sampling": {"temperature": 0},
    }
    output = grpcurl(
        serving, "phalanx.v1.Inference/Generate", flags=["-d", json.dumps(request)]
    )
    text = "".join(re.findall(r'"text": "(.*)"', output))
    assert "Paris" in text and '"finished"' in output


def test_metrics_move_and_are_well_formed(serving, stub):
    front_address = serving.coordinator.metrics_addresses()[0]
    before, engine_before = scrape(front_address), serving.engine()
    answer = read_answer(stub.Generate(chat(QUESTION, sampling=GREEDY, max_new_tokens=4)))
    serving.wait_idle()
    after, engine_after = scrape(front_address), serving.engine()

    def moved(name, **labels):
        return after.total(name, **labels) - before.total(name, **labels)

    def engine_moved(name):
        return engine_after.total(name) - engine_before.total(name)

    assert moved("phalanx_requests_total", code="OK", method="Generate") == 1
    assert moved("phalanx_prompt_tokens_total") == answer.started.prompt_tokens
    assert moved("phalanx_generation_tokens_total") == 4
    assert moved("phalanx_time_to_first_token_seconds_count") == 1
    assert moved("phalanx_e2e_request_latency_seconds_count") == 1
    assert moved("phalanx_inter_token_latency_seconds_count") >= 1
    assert engine_moved("phalanx_engine_requests_total") == 1
    assert engine_moved("phalanx_engine_generation_tokens_total") == 4
    assert engine_moved("phalanx_engine_step_seconds_count") >= 4
    assert engine_after.total("phalanx_engine_kv_blocks_capacity") > 0


def test_every_process_has_a_clean_metrics_page(serving):
    assert len(serving.worker.metrics_addresses()) == 2
    for program in serving.programs():
        for address in program.metrics_addresses():
            metrics = scrape(address)
            assert metrics.total("phalanx_build_info") == 1
            assert metrics.total("process_resident_memory_bytes") > 0
            check = subprocess.run(
                ["promtool", "check", "metrics"],
                input=metrics.text,
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
            assert check.returncode == 0 and not check.stderr, f"{address}: {check.stderr}"


def test_all_ranks_share_the_work(serving, stub):
    read_answer(stub.Generate(chat(QUESTION, sampling=GREEDY, max_new_tokens=4)))
    for address in serving.worker.metrics_addresses():
        assert scrape(address).total("phalanx_engine_all_reduce_seconds_count") > 0


def test_client_streams_an_answer(serving):
    run = phalanx(serving, "generate", QUESTION, "--temperature", "0", "--stats")
    assert run.returncode == 0, run.stderr
    assert "Paris" in run.stdout and run.stdout.endswith("\n")
    assert "tokens/s" in run.stderr


def test_client_json_lines_agree_with_the_plain_text(serving):
    flags = ["--temperature", "0", "--max_new_tokens", "12"]
    run = phalanx(serving, "generate", "-", "--json", *flags, stdin="Say something in French.\n")
    events = [json.loads(line) for line in run.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["started", "finished"]
    text = "".join(event.get("text", "") for event in events)
    plain = phalanx(serving, "generate", *flags, stdin="Say something in French.\n")
    assert plain.stdout.rstrip("\n") == text.rstrip("\n")


def test_client_keeps_the_conversation(serving):
    run = phalanx(
        serving, "chat", "--temperature", "0", "--max_new_tokens", "30",
        stdin=f"{QUESTION}\nRepeat the name of that city.\n",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("Paris") >= 2


def test_client_shows_models_tokens_and_health(serving):
    assert "llama" in phalanx(serving, "models").stdout
    assert json.loads(phalanx(serving, "models", "--json").stdout)["vocab_size"] == 49152
    tokens = json.loads(phalanx(serving, "tokenize", "Hello world", "--json").stdout)
    assert "".join(tokens["pieces"]) == "Hello world"
    run = phalanx(serving, "health", "--wait", "10s")
    assert (run.returncode, run.stdout) == (0, "SERVING\n")


def test_client_survives_a_reader_that_leaves(serving):
    ends = serving.ends()
    client = subprocess.Popen(
        [path_of("PHALANX"), "generate", "Count to a hundred.", "--target", serving.target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    client.stdout.read(1)
    client.stdout.close()
    assert client.wait(timeout=PATIENCE_SECONDS) == 141
    assert client.stderr.read() == b""
    client.stderr.close()
    serving.wait_idle()
    assert ends.in_engine() == {"CANCELLED": 1}


def test_client_cancels_its_request_on_interrupt(serving):
    ends = serving.ends()
    client = subprocess.Popen(
        [path_of("PHALANX"), "generate", "Count to a thousand.", "--target", serving.target],
        stdout=subprocess.PIPE,
    )
    with client:
        client.stdout.read(1)
        client.send_signal(2)
        assert client.wait(timeout=PATIENCE_SECONDS) == 130
    serving.wait_idle()
    assert ends.at_coordinator() == {"CANCELLED": 1}
    assert ends.in_engine() == {"CANCELLED": 1}
