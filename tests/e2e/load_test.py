"""Many clients at once, some of them rude; and what the programs cost when nobody asks."""

import concurrent.futures
import os
import random
import re
import subprocess
import time

import grpc
from harness import GREEDY, Stub, chat, first_delta, path_of, pb, read_answer, status_of, wait_until
from metrics_page import scrape

WORDS = "river stone cloud engine garden letter winter music shadow market".split()


def mixed_request(randomness, sampling):
    """A prompt of 1 to 300 words, an answer of 1 to 40 tokens."""
    prompt = " ".join(randomness.choices(WORDS, k=randomness.choice([1, 5, 20, 100, 300])))
    return chat(prompt, sampling=sampling, ignore_eos=True, max_new_tokens=randomness.randint(1, 40))


def processes(serving):
    return [process for program in serving.programs() for process in program.group()]


def test_32_streams_some_cancelled_some_killed(serving):
    randomness = random.Random(1)
    pids = {process.pid for process in processes(serving)}

    def whole(request):
        answer = read_answer(Stub(serving.target).Generate(request))
        assert len(answer.token_ids) == request.max_new_tokens
        return answer

    def cancelled(request):
        request.max_new_tokens = 2000
        stream = Stub(serving.target).Generate(request)
        first_delta(stream)
        stream.cancel()
        assert status_of(stream)[0] == grpc.StatusCode.CANCELLED

    def killed(request):
        prompt = request.chat.messages[0].content
        command = [path_of("PHALANX"), "generate", prompt, "--json", "--target", serving.target]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
            client.stdout.readline()
            client.kill()

    kinds = [whole] * 20 + [cancelled] * 6 + [killed] * 6
    randomness.shuffle(kinds)
    with concurrent.futures.ThreadPoolExecutor(len(kinds)) as pool:
        done = [pool.submit(kind, mixed_request(randomness, GREEDY)) for kind in kinds]
        for future in done:
            future.result(timeout=100)
    serving.wait_idle()
    assert {process.pid for process in processes(serving)} == pids


def test_company_does_not_change_an_answer(serving):
    request = chat("Write about the sea.", max_new_tokens=12, ignore_eos=True)
    request.sampling.CopyFrom(pb.Sampling(temperature=0.8, top_k=40, top_p=0.95, seed=3))
    alone = read_answer(Stub(serving.target).Generate(request)).token_ids
    randomness = random.Random(2)
    others = [
        Stub(serving.target).Generate(mixed_request(randomness, GREEDY)) for _ in range(6)
    ]
    assert read_answer(Stub(serving.target).Generate(request)).token_ids == alone
    for stream in others:
        read_answer(stream)
    serving.wait_idle()


def test_64_clients_at_once(serving):
    request = chat("Hello", sampling=GREEDY, ignore_eos=True, max_new_tokens=6)
    streams = [Stub(serving.target).Generate(request) for _ in range(64)]
    answers = {tuple(read_answer(stream).token_ids) for stream in streams}
    assert len(answers) == 1
    serving.wait_idle()


def test_idle_programs_use_almost_no_cpu(serving):
    serving.wait_idle()

    def cpu_seconds():
        times = [process.cpu_times() for process in processes(serving)]
        return sum(time_of.user + time_of.system for time_of in times)

    # The target is 1 % of a core; the bound leaves room for the clock ticks of /proc.
    window_seconds = 4
    start, used = time.monotonic(), cpu_seconds()
    wait_until(lambda: time.monotonic() - start > window_seconds, "the window is over")
    share = (cpu_seconds() - used) / (time.monotonic() - start)
    assert share < 0.05, f"{share:.1%} of a core"


def test_a_rank_needs_its_part_of_the_weights_and_the_arena(serving):
    line = r"rank (\d) of 2: .* weights (\d+) MiB, KV cache (\d+) MiB"
    planned = {int(rank): (int(w), int(kv)) for rank, w, kv in re.findall(line, serving.worker.log())}
    addresses = serving.worker.metrics_addresses()
    assert sorted(planned) == list(range(len(addresses)))
    for rank, address in enumerate(addresses):
        weights_mib, arena_mib = planned[rank]
        assert weights_mib < 0.6 * os.path.getsize(path_of("SMOLLM2")) / 2**20
        resident_mib = scrape(address).total("process_resident_memory_bytes") / 2**20
        assert resident_mib < weights_mib + arena_mib + 100
