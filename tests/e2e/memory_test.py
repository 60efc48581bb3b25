"""A group whose memory is not there does not start, and says what it needs and what there is."""

import contextlib
import os
import pathlib
import re

import psutil
import pytest
from harness import GREEDY, Serving, chat, read_answer, wait_for_health

SOON_SECONDS = 15


@pytest.mark.parametrize("tp", [1, 2])
def test_a_kv_cache_larger_than_memory_is_refused_at_once(cluster, smollm2, tp):
    # 45 KiB a token: three times the machine, and 172 GiB at least.
    tokens = max(4_000_000, 3 * psutil.virtual_memory().total // (45 << 10))
    worker = cluster.worker(smollm2, tp=tp, flags=["--kv_cache_tokens", str(tokens)])
    worker.expected_exit = 1
    assert worker.wait(SOON_SECONDS) == 1, worker.log()
    log = worker.log()
    assert f"with a KV cache of {tokens} tokens" in log
    for rank in range(tp):
        assert re.search(rf"rank {rank} .* GiB ", log), log
    assert "free in the machine" in log and "give --kv_cache_tokens " in log
    assert "digest of all weights" not in log, "it loaded first"


# All of it, so that nothing is missing once blocks fill.
def test_the_kv_cache_has_its_memory_when_the_group_is_ready(cluster, smollm2):
    tokens = 12288
    worker = cluster.worker(smollm2, flags=["--kv_cache_tokens", str(tokens)])
    resident = psutil.Process(worker.wait_ready().process.pid).memory_info().rss
    assert resident > tokens * (45 << 10)


# Of the address space, which the plan does not know of.
def test_memory_that_the_system_refuses_is_told_with_the_flag(cluster, smollm2):
    limit = ["prlimit", f"--as={4 << 30}"]
    worker = cluster.worker(smollm2, flags=["--kv_cache_tokens", "131072"], prefix=limit)
    worker.expected_exit = 1
    assert worker.wait(SOON_SECONDS) == 1, worker.log()
    errors = [line for line in worker.log().splitlines() if "RESOURCE_EXHAUSTED" in line]
    assert len(errors) == 1, worker.log()
    assert "no KV cache of 131072 tokens" in errors[0] and "--kv_cache_tokens" in errors[0]


@contextlib.contextmanager
def control_group(controller, files):
    """The file of processes of a control group of its own with such limits, v1 or v2."""
    root = pathlib.Path("/sys/fs/cgroup")
    parent = root / controller if (root / controller).is_dir() else root
    folder = parent / f"phalanx_test_{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        known = [(name, text) for name, text in files.items() if (folder / name).exists()]
        if not known:
            pytest.skip(f"there is no control group of {controller} here")
        for name, text in known:
            (folder / name).write_text(text)
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def inside(processes):
    """A command that moves itself into a control group and goes on as the command behind it."""
    return ["sh", "-c", f'echo $$ > {processes}; exec "$@"', "sh"]


def test_a_control_group_that_is_too_small_refuses_and_one_that_is_large_enough_serves(
    cluster, smollm2
):
    limit = str(700 << 20)
    limits = {"memory.max": limit, "memory.limit_in_bytes": limit}
    with control_group("memory", limits) as processes:
        flags = ["--kv_cache_tokens", "16384"]
        worker = cluster.worker(smollm2, flags=flags, prefix=inside(processes))
        worker.expected_exit = 1
        assert worker.wait(SOON_SECONDS) == 1, worker.log()
        fits = re.search(r"give --kv_cache_tokens (\d+) or less", worker.log())
        assert fits and "free in the control group of this process" in worker.log()
        # The number that it names.
        flags = ["--kv_cache_tokens", fits.group(1)]
        worker = cluster.worker(smollm2, flags=flags, prefix=inside(processes)).wait_ready()
        worker.stop()


def test_a_quota_of_processors_is_rounded_down(cluster, tiny_model):
    quota = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "190000"}
    files = {"cpu.max": "190000 100000", **quota}
    with control_group("cpu", files) as processes:
        worker = cluster.worker(tiny_model, prefix=inside(processes)).wait_ready()
        assert re.search(r"1 threads per rank: 1 CPUs \(.*cgroup quota 1.9\)", worker.log())
        worker.stop()


def test_one_allowed_processor_means_one_thread_and_the_same_answers(cluster, smollm2):
    request = chat("Count to five.", sampling=GREEDY, ignore_eos=True, max_new_tokens=12)
    processor = min(os.sched_getaffinity(0))
    answers = []
    for prefix in ([], ["taskset", "-c", str(processor)]):
        worker = cluster.worker(smollm2, prefix=prefix).wait_ready()
        coordinator = cluster.coordinator(smollm2, [worker.target]).wait_ready()
        serving = Serving(worker, coordinator)
        wait_for_health(coordinator.target, "SERVING")
        answers.append(read_answer(serving.stub().Generate(request)).token_ids)
        threads = psutil.Process(worker.process.pid).cpu_affinity()
        assert len(threads) == (1 if prefix else len(os.sched_getaffinity(0)))
    assert "1 threads per rank: 1 CPUs (affinity mask 1" in worker.log()
    assert answers[0] == answers[1]


def test_the_default_fits_and_serves(cluster, tiny_model):
    serving = cluster.serve(tiny_model, tp=2)
    assert re.search(r"memory: .* for 2 ranks with a KV cache of \d+ tokens", serving.worker.log())
    request = chat("Hello.", sampling=GREEDY, ignore_eos=True, max_new_tokens=3)
    assert len(read_answer(serving.stub().Generate(request)).token_ids) == 3
