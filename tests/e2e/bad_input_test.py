"""Wrong requests get a defined status that names the field; wrong files end the start."""

import pathlib
import socket
import struct

import grpc
import pytest
from harness import GREEDY, Stub, chat, health, pb, read_answer, status_of, wait_until

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

BAD_REQUESTS = {
    "no input": (pb.GenerateRequest(), INVALID, "input"),
    "empty text": (pb.GenerateRequest(text=""), INVALID, "text"),
    "no messages": (pb.GenerateRequest(chat=pb.Chat()), INVALID, "messages"),
    "no tokens": (pb.GenerateRequest(tokens=pb.TokenIds()), INVALID, "tokens"),
    "unknown role": (
        pb.GenerateRequest(chat=pb.Chat(messages=[pb.Message(role="boss", content="x")])),
        INVALID,
        "role",
    ),
    "no role": (pb.GenerateRequest(chat=pb.Chat(messages=[pb.Message(content="x")])), INVALID, "role"),
    "no content": (pb.GenerateRequest(chat=pb.Chat(messages=[pb.Message(role="user")])), INVALID, "content"),
    "token too large": (pb.GenerateRequest(tokens=pb.TokenIds(ids=[49152])), INVALID, "49152"),
    "token negative": (pb.GenerateRequest(tokens=pb.TokenIds(ids=[-1])), INVALID, "-1"),
    "prompt too long": (pb.GenerateRequest(tokens=pb.TokenIds(ids=[5] * 8192)), INVALID, "8192"),
    "temperature negative": (chat("x", sampling=pb.Sampling(temperature=-0.1)), INVALID, "temperature"),
    "temperature too high": (chat("x", sampling=pb.Sampling(temperature=100.5)), INVALID, "temperature"),
    "temperature nan": (chat("x", sampling=pb.Sampling(temperature=float("nan"))), INVALID, "temperature"),
    "top_k negative": (chat("x", sampling=pb.Sampling(top_k=-1)), INVALID, "top_k"),
    "top_p zero": (chat("x", sampling=pb.Sampling(top_p=0)), INVALID, "top_p"),
    "top_p above one": (chat("x", sampling=pb.Sampling(top_p=1.01)), INVALID, "top_p"),
    "max_new_tokens zero": (chat("x", max_new_tokens=0), INVALID, "max_new_tokens"),
    "max_new_tokens negative": (chat("x", max_new_tokens=-5), INVALID, "max_new_tokens"),
    "max_new_tokens huge": (chat("x", max_new_tokens=2**31 - 1), INVALID, "max_new_tokens"),
    "priority too high": (chat("x", priority=11), INVALID, "priority"),
    "priority too low": (chat("x", priority=-11), INVALID, "priority"),
    "tenant empty": (chat("x", tenant=""), INVALID, "tenant"),
    "unknown model": (chat("x", model="gpt-17"), NOT_FOUND, "gpt-17"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_refuses(stub, name):
    request, code, word = BAD_REQUESTS[name]
    got, details = status_of(stub.Generate(request))
    assert got == code and word in details, f"{got} {details}"


BAD_BYTES = {
    "garbage": b"\xff\xff\xff\xff",
    "truncated": chat("Hello").SerializeToString()[:-2],
    # Field 2, `text`, of two bytes that no UTF-8 text has.
    "invalid UTF-8": b"\x12\x02\xc3\x28",
}


@pytest.mark.parametrize("method", ["Generate", "Tokenize"])
@pytest.mark.parametrize("name", BAD_BYTES)
def test_refuses_bytes_that_are_no_request(serving, method, name):
    with grpc.insecure_channel(serving.target) as channel:
        call = channel.unary_stream(f"/phalanx.v1.Inference/{method}")
        code, details = status_of(call(BAD_BYTES[name]))
    assert code == INVALID and details, f"{code} {details}"


def test_an_unknown_method_is_unimplemented(serving):
    with grpc.insecure_channel(serving.target) as channel:
        code, _ = status_of(channel.unary_stream("/phalanx.v1.Inference/Dance")(b""))
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_answers_as_before_after_all_that(stub):
    answer = read_answer(stub.Generate(chat("What is the capital of France?", sampling=GREEDY)))
    assert "Paris" in answer.text


# --- Files ---


def patched(data, name, offset, value):
    """`data` with bytes changed at `offset` behind the only GGUF string `name`."""
    marker = struct.pack("<Q", len(name)) + name
    assert data.count(marker) == 1
    start = data.index(marker) + len(marker) + offset
    return data[:start] + value + data[start + len(value) :]


# Behind a tensor's name: the number of dimensions (4 bytes), two of 8 bytes each, then the type.
TYPE_OFFSET = 4 + 2 * 8

# What to do to a good file, and words of the message.
BAD_FILES = {
    "empty": (lambda data: b"", ["model.gguf"]),
    "foreign": (lambda data: b"PK\x03\x04" + data[4:], ["model.gguf", "GGUF"]),
    "truncated header": (lambda data: data[:100], ["model.gguf"]),
    "truncated tensors": (lambda data: data[: len(data) // 2], ["model.gguf"]),
    # A type and a length stand before the value.
    "unsupported architecture": (
        lambda data: patched(data, b"general.architecture", 4 + 8, b"klama"),
        ["model.gguf", "klama"],
    ),
    "unknown tensor type": (
        lambda data: patched(data, b"blk.0.attn_q.weight", TYPE_OFFSET, struct.pack("<I", 99)),
        ["model.gguf", "blk.0.attn_q.weight"],
    ),
    "unsupported tensor type": (
        lambda data: patched(data, b"blk.0.attn_q.weight", TYPE_OFFSET, struct.pack("<I", 16)),
        ["model.gguf", "blk.0.attn_q.weight"],
    ),
}


def assert_fails_to_start(program, words):
    program.expected_exit = 1
    program.wait()
    log = program.log()
    for word in words:
        assert word in log, f"no {word!r} in:\n{log}"


def bad_file(tmp_path, tiny_model, name):
    path = tmp_path / "model.gguf"
    path.write_bytes(BAD_FILES[name][0](pathlib.Path(tiny_model).read_bytes()))
    return str(path)


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("name", BAD_FILES)
def test_worker_refuses_a_bad_file(cluster, tmp_path, tiny_model, name, tp):
    worker = cluster.worker(bad_file(tmp_path, tiny_model, name), tp=tp)
    assert_fails_to_start(worker, BAD_FILES[name][1])


@pytest.mark.parametrize("name", ["empty", "foreign", "truncated header", "unsupported architecture"])
def test_coordinator_refuses_a_bad_file(cluster, tmp_path, tiny_model, name):
    coordinator = cluster.coordinator(bad_file(tmp_path, tiny_model, name), ["127.0.0.1:1"])
    assert_fails_to_start(coordinator, BAD_FILES[name][1])


def test_a_missing_file_is_named(cluster):
    assert_fails_to_start(cluster.worker("/nowhere/model.gguf", tp=2), ["/nowhere/model.gguf"])
    assert_fails_to_start(cluster.coordinator("/nowhere/model.gguf", ["127.0.0.1:1"]), ["/nowhere/model.gguf"])


def test_more_ranks_than_kv_heads_are_refused(cluster, tiny_model):
    assert_fails_to_start(cluster.worker(tiny_model, tp=4), ["4"])


@pytest.mark.parametrize("flag", ["listen", "metrics_listen"])
def test_a_port_in_use_is_named(cluster, tiny_model, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = cluster.worker(tiny_model, **{flag: address})
        assert_fails_to_start(worker, [address])
        coordinator = cluster.coordinator(tiny_model, ["127.0.0.1:1"], **{flag: address})
        assert_fails_to_start(coordinator, [address])


def test_a_coordinator_with_another_model_does_not_use_the_group(cluster, smollm2, tiny_model):
    worker = cluster.worker(tiny_model).wait_ready()
    coordinator = cluster.coordinator(smollm2, [worker.target]).wait_ready()
    # The log tells once the two have met.
    wait_until(lambda: "fingerprint" in coordinator.log(), "the coordinator tells of the mismatch")
    assert health(coordinator.target) == "NOT_SERVING"
    code, _ = status_of(Stub(coordinator.target).Generate(chat("x")))
    assert code == grpc.StatusCode.UNAVAILABLE
