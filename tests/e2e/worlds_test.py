"""Any number of ranks gives the same tokens, whatever carries their sums: one table, real processes.

Ranks add up parts of each sum in another order than one rank does, so the last bits of logits differ:
in float32, which all of this computes in, by less than what decides between tokens, in all requests of
this file. Ranks as threads of one process (`local`) are tried against the reference by //tests/golden.
"""

import dataclasses
import os
import socket
import subprocess
import uuid

import pytest
from harness import Cluster, Serving, path_of, pb, read_answer, wait_for_health

TOKENS = 24


@dataclasses.dataclass(frozen=True)
class Model:
    # The kind of tests/e2e/write_tiny_model.cc; none is the real model.
    tiny: str = None
    flags: tuple = ()


MODELS = {
    # 9 query and 3 KV heads, 4-bit blocks.
    "smollm2": Model(),
    # 16 and 8.
    "phi3": Model("phi3_of_8_heads"),
    "phi3_int4": Model("phi3_of_8_heads", ("--weights", "int4")),
    "qwen2": Model("qwen2_of_8_heads"),
    "qwen2_int8": Model("qwen2_of_8_heads", ("--weights", "int8")),
}

# Of 3 ranks, the first two of the tiny models have 3 KV heads and the last has 2, with more of the
# feed-forward; of 2, those of the real model have 2 and 1.
TABLE = [
    ("smollm2", 2, "shm"),
    ("smollm2", 3, "shm"),
    ("smollm2", 3, "shm by hand"),
    ("smollm2", 2, "net"),
    ("smollm2", 3, "net"),
    *[("phi3", world, transport) for transport in ("shm", "net") for world in (2, 3, 4, 8)],
    *[("qwen2", world, transport) for transport in ("shm", "net") for world in (2, 3, 4, 8)],
    *[("phi3_int4", world, "shm") for world in (3, 8)],
    *[("qwen2_int8", world, "shm") for world in (3, 8)],
]

PROMPTS = ["The capital of France is", "1, 2, 3, 4,", "Once upon a time there was a king who"]
SAMPLINGS = [
    pb.Sampling(temperature=0),
    pb.Sampling(temperature=0.8, seed=7),
    pb.Sampling(temperature=1.2, top_p=0.9, seed=11),
    pb.Sampling(temperature=1.0, top_k=20, min_p=0.02, repetition_penalty=1.2, seed=13),
]


# --- Transports ---


def shm(cluster, path, world, flags):
    """The leader starts the others."""
    return cluster.worker(path, tp=world, flags=flags)


def by_hand(cluster, path, world, flags, meet):
    """Each rank is started by the test, the leader last."""
    for rank in range(world - 1, 0, -1):
        cluster.rank(path, rank, world=world, meet=meet, flags=flags)
    return cluster.rank(path, 0, world=world, meet=meet, flags=flags)


def shm_by_hand(cluster, path, world, flags):
    return by_hand(cluster, path, world, flags, ["--group_socket", f"@phalanx-test-{uuid.uuid4().hex}"])


def net(cluster, path, world, flags):
    """By TCP, as ranks of several hosts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    secret = cluster.folder / "secret"
    secret.write_text("of the worlds' test, 32 bytes or more")
    os.chmod(secret, 0o600)
    meet = ["--leader", f"127.0.0.1:{port}", "--group_secret_file", str(secret), "--insecure_rank_link"]
    return by_hand(cluster, path, world, flags, meet)


TRANSPORTS = {"shm": shm, "shm by hand": shm_by_hand, "net": net}


# --- Answers ---


def tokens_of(serving):
    """The tokens of each prompt under each sampling, all asked for at once."""
    stub = serving.stub()
    streams = [
        stub.Generate(pb.GenerateRequest(text=text, sampling=s, max_new_tokens=TOKENS, ignore_eos=True))
        for text in PROMPTS
        for s in SAMPLINGS
    ]
    answers = [list(read_answer(stream).token_ids) for stream in streams]
    serving.wait_idle()
    return answers


def answers_of(folder, path, flags, world, transport):
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder)
    try:
        worker = TRANSPORTS[transport](cluster, path, world, flags).wait_ready()
        coordinator = cluster.coordinator(path, [worker.target]).wait_ready()
        wait_for_health(coordinator.target, "SERVING")
        answers = tokens_of(Serving(worker, coordinator))
        # The leader goes last but one, and tells the ranks by hand to leave.
        for program in (coordinator, worker):
            program.stop()
    finally:
        cluster.stop()
    return answers


@pytest.fixture(scope="module")
def models(tmp_path_factory, smollm2):
    """Path of each model by its name."""
    paths = {}
    for name, model in MODELS.items():
        paths[name] = smollm2
        if model.tiny is not None:
            paths[name] = str(tmp_path_factory.mktemp(name))
            subprocess.run([path_of("WRITE_TINY_MODEL"), model.tiny, paths[name]], check=True)
    return paths


@pytest.fixture(scope="module")
def alone(tmp_path_factory, models):
    """Answers of one rank, by the model's name."""
    known = {}

    def ask(name):
        if name not in known:
            folder = tmp_path_factory.mktemp("alone")
            known[name] = answers_of(folder, models[name], MODELS[name].flags, 1, "shm")
        return known[name]

    return ask


@pytest.mark.parametrize("name, world, transport", TABLE)
def test_the_tokens_are_those_of_one_rank(tmp_path, models, alone, name, world, transport):
    expected = alone(name)
    answers = answers_of(tmp_path / "group", models[name], MODELS[name].flags, world, transport)
    asked = [(text, s) for text in PROMPTS for s in SAMPLINGS]
    different = [
        f"{text!r} with {s}: {have} in place of {want}"
        for (text, s), have, want in zip(asked, answers, expected)
        if have != want
    ]
    assert not different, "\n".join(different)


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_are_worth_comparing(alone, name):
    """A request that samples is not answered as the greedy one, and prompts matter."""
    answers = alone(name)
    assert all(len(answer) == TOKENS for answer in answers)
    assert len({tuple(answer) for answer in answers}) == len(answers)
