"""The worker on GPUs: as far as an emulator is one, and what it says where there is none."""

import re
import subprocess

import pytest
from harness import ANY_PORT, GREEDY, first_delta, path_of, pb, read_answer

SEEDED = pb.Sampling(temperature=1.0, top_k=20, top_p=0.9, seed=7)
# Exactly as CPUs compute.
FLOAT32 = ["--activations", "f32", "--max_seqs", "8", "--max_step_tokens", "64"]


def answers(serving):
    """Greedy and drawn tokens, of requests that run together."""
    stub = serving.stub()
    streams = [
        stub.Generate(pb.GenerateRequest(text=text, sampling=sampling, ignore_eos=True, max_new_tokens=24))
        for text in ("abc", "a longer prompt of several tokens", "x" * 70)
        for sampling in (GREEDY, SEEDED)
    ]
    tokens = [list(read_answer(stream).token_ids) for stream in streams]
    serving.wait_idle()
    return tokens


@pytest.fixture
def cpu_answers(cluster, tiny_folder):
    return answers(cluster.serve(str(tiny_folder), worker_flags=["--device", "cpu"]))


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("steps_in_flight", [1, 2])
def test_the_tokens_are_those_of_the_cpu(cluster, tiny_folder, cpu_answers, tp, steps_in_flight):
    flags = ["--device", "cuda", "--steps_in_flight", str(steps_in_flight), *FLOAT32]
    serving = cluster.serve_on_emulator(str(tiny_folder), tp=tp, worker_flags=flags)
    assert answers(serving) == cpu_answers


def constrained_answers(serving):
    """Tokens of requests whose masks follow after the forward pass has begun, beside a free one."""
    asked = [
        {"constraint": pb.Constraint(regex="[a-f]{4,30}[.]")},
        {"constraint": pb.Constraint(regex="(ab|cd){4,12}"), "speculation": pb.Speculation(max_draft_tokens=4)},
        {"constraint": pb.Constraint(choices=pb.Choices(values=["yes and no", "neither"]))},
        {"ignore_eos": True},
    ]
    stub = serving.stub()
    streams = [
        stub.Generate(pb.GenerateRequest(text="abc", sampling=sampling, max_new_tokens=32, **fields))
        for fields in asked
        for sampling in (GREEDY, SEEDED)
    ]
    tokens = [list(read_answer(stream).token_ids) for stream in streams]
    serving.wait_idle()
    return tokens


@pytest.mark.parametrize("tp, steps_in_flight", [(1, 1), (1, 2), (2, 2)])
def test_constrained_tokens_are_those_of_the_cpu(cluster, tiny_folder, tp, steps_in_flight):
    expected = constrained_answers(cluster.serve(str(tiny_folder), worker_flags=["--device", "cpu"]))
    flags = ["--device", "cuda", "--steps_in_flight", str(steps_in_flight), *FLOAT32]
    serving = cluster.serve_on_emulator(str(tiny_folder), tp=tp, worker_flags=flags)
    assert constrained_answers(serving) == expected


def test_bfloat16_answers_and_the_log_has_the_memory_plan(cluster, tiny_folder):
    serving = cluster.serve_on_emulator(str(tiny_folder), worker_flags=["--max_seqs", "4"])
    assert all(len(tokens) == 24 for tokens in answers(serving))
    log = serving.worker.log()
    assert re.search(r"rank 0 .* MiB", log)
    assert "free in GPU 0" in log


def test_fast_products_are_measured_once_for_all_starts(cluster, tiny_folder, tmp_path):
    flags = ["--device", "cuda", "--determinism", "fast", "--cuda_cache_dir", str(tmp_path / "new")]
    flags += ["--activations", "f32", "--max_seqs", "8", "--max_step_tokens", "72"]

    def start_and_answer():
        serving = cluster.serve_on_emulator(str(tiny_folder), worker_flags=flags)
        assert all(len(tokens) == 24 for tokens in answers(serving))
        assert "left to our own" not in serving.worker.log()
        return serving.worker.log()

    assert re.search(r"measured \d+ kinds of products in", start_and_answer())
    assert len(list((tmp_path / "new").iterdir())) == 1
    log = start_and_answer()
    assert "are known from an earlier start" in log
    assert "measured" not in log


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_weights_are_quantized_on_request(cluster, tiny_folder, device):
    flags = ["--device", device, "--weights", "int8", "--max_seqs", "8", "--max_step_tokens", "64"]
    serving = cluster.serve_on_emulator(str(tiny_folder), worker_flags=flags)
    assert all(len(tokens) == 24 for tokens in answers(serving))
    log = serving.worker.log()
    assert re.search(r"weights quantized to int8: they changed by 0\.\d\d % of their size", log), log
    assert serving.stub().GetModel(pb.GetModelRequest()).weights_digest.endswith("-int8")


@pytest.mark.parametrize("device, dtype", [("cpu", "bf16"), ("cpu", "int8"), ("cuda", "int8"), ("cuda", "fp8")])
def test_keys_and_values_are_kept_in_the_type_that_is_asked_for(cluster, tiny_folder, device, dtype):
    flags = ["--device", device, "--kv_cache_dtype", dtype, "--max_seqs", "8", "--max_step_tokens", "64"]
    serving = cluster.serve_on_emulator(str(tiny_folder), tp=2, worker_flags=flags)
    together = answers(serving)
    assert all(len(tokens) == 24 for tokens in together)
    # The same alone as under load, and again.
    stub = serving.stub()
    request = pb.GenerateRequest(text="x" * 70, sampling=SEEDED, ignore_eos=True, max_new_tokens=24)
    assert list(read_answer(stub.Generate(request)).token_ids) == together[-1]
    log = serving.worker.log()
    assert re.search(rf"KV cache \d+ MiB in {dtype}", log), log
    assert re.search(rf"with a KV cache of \d+ tokens \({dtype}, .* a token", log), log
    digest = stub.GetModel(pb.GetModelRequest()).weights_digest
    assert digest.endswith(f"-kv_{dtype}") == (dtype != "bf16"), digest


def test_a_type_of_kv_caches_that_the_device_cannot_read_is_refused_at_start(tiny_folder):
    refused = run_worker("--model", str(tiny_folder), "--device", "cpu", "--kv_cache_dtype", "fp8")
    assert refused.returncode == 1
    assert "a CPU keeps keys and values in f32, bf16 or int8, not in fp8" in refused.stderr
    unknown = run_worker("--model", str(tiny_folder), "--kv_cache_dtype", "int4")
    assert unknown.returncode == 2
    assert "--kv_cache_dtype" in unknown.stderr


@pytest.mark.parametrize(
    "end, reason",
    [("kill", "rank 1 was killed by signal 9"), ("suspend", "rank 1 has not answered for 2s")],
)
def test_a_rank_that_ends_or_hangs_in_a_collective_is_replaced(cluster, tiny_folder, end, reason):
    flags = ["--device", "cuda", "--stall_timeout", "2s", *FLOAT32]
    serving = cluster.serve_on_emulator(str(tiny_folder), tp=2, worker_flags=flags)
    request = pb.GenerateRequest(text="abc", sampling=GREEDY, ignore_eos=True, max_new_tokens=300)
    undisturbed = read_answer(serving.stub().Generate(request, timeout=120)).token_ids
    stream = serving.stub().Generate(request, timeout=120)
    tokens = list(first_delta(stream).token_ids)
    (rank,) = serving.worker.ranks()
    getattr(rank, end)()
    for event in stream:
        tokens += event.delta.token_ids
    assert tokens == list(undisturbed)
    assert reason in serving.worker.log(), serving.worker.log()
    serving.worker.wait_for_log("the group serves again")


def run_worker(*flags):
    command = [path_of("WORKER"), "--listen", ANY_PORT, "--metrics_listen", ANY_PORT, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def has_gpu():
    return "libcuda.so.1" in subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout


@pytest.mark.skipif(has_gpu(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_cuda_is_refused_and_auto_takes_the_cpu(cluster, tiny_folder):
    refused = run_worker("--model", str(tiny_folder), "--device", "cuda")
    assert refused.returncode == 1
    assert "no NVIDIA driver: libcuda.so.1 is not among the libraries" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    worker = cluster.worker(str(tiny_folder)).wait_ready()
    assert worker.log().count("computing on the CPU: no NVIDIA driver") == 1


def test_devices_must_be_one_for_each_rank(tiny_folder):
    emulated = path_of("EMULATED_GPU_WORKER")
    for flags, message in [
        (["--devices", "0,1"], "--devices names 2 GPUs, but there are 1 ranks"),
        (["--devices", "7"], "rank 0 would use GPU 7, but this process sees 2"),
    ]:
        command = [emulated, "--model", str(tiny_folder), "--device", "cuda", *flags]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1
        assert message in refused.stderr


def test_a_model_that_does_not_fit_is_refused_with_the_table(tiny_folder):
    command = [path_of("EMULATED_GPU_WORKER"), "--model", str(tiny_folder), "--device", "cuda"]
    command += ["--kv_cache_tokens", "200000000"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "does not fit into memory with a KV cache of 200000000 tokens" in refused.stderr
    assert "free in GPU 0: 4.00 GiB" in refused.stderr
    assert "give --kv_cache_tokens" in refused.stderr
