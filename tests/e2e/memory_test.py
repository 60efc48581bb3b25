"""A group whose memory is not there does not start, and says what it needs and what there is."""

import re

import psutil
import pytest
from harness import GREEDY, chat, read_answer

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


def test_the_default_fits_and_serves(cluster, tiny_model):
    serving = cluster.serve(tiny_model, tp=2)
    assert re.search(r"memory: .* for 2 ranks with a KV cache of \d+ tokens", serving.worker.log())
    request = chat("Hello.", sampling=GREEDY, ignore_eos=True, max_new_tokens=3)
    assert len(read_answer(serving.stub().Generate(request)).token_ids) == 3
