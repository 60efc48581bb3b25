"""What hostile and clumsy peers do to the gRPC ports of a coordinator and a worker."""

import concurrent.futures
import contextlib
import pathlib
import resource
import signal
import subprocess
import zlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import OWN_CONNECTION, Cluster, health, path_of, pb, read_answer, wait_until
from http2_client import Http2Client, announce_a_gigabyte_of_header, connect, hear_out
from metrics_page import scrape

INVALID_ARGUMENT = 3
RESOURCE_EXHAUSTED = 8
MIB = 1 << 20
# The servers' limit of one request, and how many of that a request may cost beside buffers.
LIMIT_BYTES = 4 * MIB
MULTIPLE = 4

# By program: a method, and the bytes before a string or a list that goes on for `length` bytes.
TARGETS = {
    "coordinator": "/phalanx.v1.Inference/Tokenize",
    "worker": "/phalanx.worker.v1.Engine/Session",
}


@pytest.fixture(scope="module")
def tiny_serving(tmp_path_factory, tiny_model):
    programs = Cluster(tmp_path_factory.mktemp("serving"))
    yield programs.serve(tiny_model)
    programs.stop()


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


@pytest.fixture(scope="module")
def gzip_bomb():
    """About 1 MiB that inflates to a `text` of 1 GiB."""
    packer = zlib.compressobj(level=6, wbits=31)
    length = 1 << 30
    parts = [packer.compress(b"\x12" + varint(length))]
    block = b"x" * (16 * MIB)
    parts += [packer.compress(block) for _ in range(length // len(block))]
    return b"".join([*parts, packer.flush()])


def peak_mib(program):
    status = pathlib.Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def memory_during(program, attack):
    """MiB by which the program's peak grew, counted from now on."""
    pathlib.Path(f"/proc/{program.process.pid}/clear_refs").write_text("5")
    before = peak_mib(program)
    attack()
    return peak_mib(program) - before


def all_at_once(count, function):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(function) for _ in range(count)]]


def send_to(program, name, message, encoding=None, announced=None):
    client = Http2Client(program.target)
    with contextlib.closing(client):
        return client.call(TARGETS[name], message, encoding, announced)


def assert_answers(serving):
    answer = read_answer(serving.stub().Generate(pb.GenerateRequest(text="hi", max_new_tokens=3)))
    assert answer.finished.usage.completion_tokens > 0


@pytest.mark.parametrize("name", TARGETS)
def test_four_gzip_bombs_cost_a_small_multiple_of_the_limit(tiny_serving, gzip_bomb, name):
    program = getattr(tiny_serving, name)
    results = []
    grown = memory_during(
        program,
        lambda: results.extend(
            all_at_once(4, lambda: send_to(program, name, gzip_bomb, encoding="gzip"))
        ),
    )
    for code, details in results:
        assert code == INVALID_ARGUMENT and "when decompressed" in details, (code, details)
    assert grown < 4 * MULTIPLE * LIMIT_BYTES / MIB
    assert_answers(tiny_serving)


@pytest.mark.parametrize("name", TARGETS)
def test_eight_requests_of_countless_fields_cost_a_small_multiple_of_the_limit(tiny_serving, name):
    program = getattr(tiny_serving, name)
    # Empty messages in a conversation; token ids of a byte each.
    body = {"coordinator": b"\x0a\x00" * (2 * MIB - 16), "worker": b"\x01" * (4 * MIB - 32)}[name]
    if name == "worker":
        body = b"\x12" + varint(len(body)) + body
    message = {"coordinator": b"\x1a", "worker": b"\x0a"}[name] + varint(len(body)) + body
    results = []
    grown = memory_during(
        program, lambda: results.extend(all_at_once(8, lambda: send_to(program, name, message)))
    )
    for code, details in results:
        assert code == INVALID_ARGUMENT and "bytes of memory" in details, (code, details)
    assert grown < 8 * MULTIPLE * LIMIT_BYTES / MIB
    assert_answers(tiny_serving)


@pytest.mark.parametrize("announced", [5 * MIB, 64 * MIB, 512 * MIB, (1 << 32) - 1])
@pytest.mark.parametrize("name", TARGETS)
def test_a_long_message_costs_a_small_multiple_of_the_limit(tiny_serving, name, announced):
    program = getattr(tiny_serving, name)
    message = b"\x0a" * min(announced, 64 * MIB)
    results = []

    def attack():
        results.extend(
            all_at_once(4, lambda: send_to(program, name, message, announced=announced))
        )

    grown = memory_during(program, attack)
    for code, details in results:
        assert code == RESOURCE_EXHAUSTED and "larger than max" in details, (code, details)
    assert grown < 4 * MULTIPLE * LIMIT_BYTES / MIB
    assert_answers(tiny_serving)


@pytest.mark.parametrize("name", TARGETS)
def test_a_long_message_ends_no_other_call_of_its_connection(tiny_serving, name):
    client = Http2Client(getattr(tiny_serving, name).target)
    with contextlib.closing(client):
        watch = client.begin("/grpc.health.v1.Health/Watch", b"")
        for _ in range(3):
            code, _ = client.call(TARGETS[name], b"\x0a" * 8 * MIB, announced=512 * MIB)
            assert code == RESOURCE_EXHAUSTED
        assert client.call("/grpc.health.v1.Health/Check", b"") == (0, "")
        assert watch not in client.statuses


@pytest.mark.parametrize("name", TARGETS)
def test_headers_without_an_end_are_cut_off(tiny_serving, name):
    """gRPC 1.51 would parse all of them again with each frame: 32 MiB take it tens of seconds."""
    program = getattr(tiny_serving, name)

    def cut():
        return scrape(program.metrics_addresses()[0]).total("phalanx_connections_cut_total")

    before = cut()
    taken = all_at_once(2, lambda: announce_a_gigabyte_of_header(program.target, 10, 32 << 20))
    assert max(taken) < 8 * MIB, "more than what the kernel keeps"
    assert cut() == before + 2
    assert_answers(tiny_serving)


@pytest.mark.parametrize("name", TARGETS)
def test_compressed_requests_are_answered(tiny_serving, name):
    text = b"\x12" + varint(2000) + b"x" * 2000
    if name == "coordinator":
        for encoding, wbits in (("gzip", 31), ("deflate", 15)):
            packer = zlib.compressobj(wbits=wbits)
            packed = packer.compress(text) + packer.flush()
            assert send_to(tiny_serving.coordinator, name, packed, encoding) == (0, "")
    else:
        # Garbage of a kind that only a parser finds.
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(b"\xff" * 100) + packer.flush()
        code, details = send_to(tiny_serving.worker, name, packed, "gzip")
        assert code == INVALID_ARGUMENT and "SessionRequest" in details


@pytest.mark.parametrize("name", TARGETS)
def test_frequent_keepalive_pings_are_no_abuse(tiny_serving, name):
    idle = Http2Client(getattr(tiny_serving, name).target)
    watching = Http2Client(getattr(tiny_serving, name).target)
    watching.begin("/grpc.health.v1.Health/Watch", b"")
    with contextlib.closing(idle), contextlib.closing(watching):
        # Three that are too frequent were two more than the server stood.
        for pings in range(1, 6):
            for client in (idle, watching):
                client.ping()
                while client.pongs < pings and client.goaway is None:
                    client.receive()
                assert client.goaway is None, client.goaway
            # The rule is one about time: pings may come once a second.
            hear_out((idle, watching), 1.2)


@pytest.mark.parametrize("name", TARGETS)
def test_idle_connections_up_to_the_limit_of_descriptors(cluster, tiny_model, name):
    prefix = ["prlimit", "--nofile=128:128"]
    worker = cluster.worker(tiny_model, prefix=prefix).wait_ready()
    coordinator = cluster.coordinator(tiny_model, [worker.target], prefix=prefix).wait_ready()
    wait_until(lambda: health(coordinator.target) == "SERVING", "the coordinator serves")
    program = {"worker": worker, "coordinator": coordinator}[name]
    with grpc.insecure_channel(program.target, OWN_CONNECTION) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="liveness")
        stub.Check(request, timeout=60)
        with contextlib.ExitStack() as connections:
            for _ in range(300):
                connections.enter_context(contextlib.closing(connect(program.target)))
            # Until it has looked at all of them.
            metrics = program.metrics_addresses()[0]
            wait_until(
                lambda: scrape(metrics).total("phalanx_connections_accepted_total")
                + scrape(metrics).total("phalanx_connections_refused_total")
                >= 301,
                "every connection is accepted or refused",
            )
            assert scrape(metrics).total("phalanx_connections_refused_total") > 100
            # Who is connected is served.
            stub.Check(request, timeout=60)
    wait_until(lambda: health(program.target, "liveness") == "SERVING", "a new connection is served")
    assert health(program.target) == "SERVING"


def probes(program, result):
    return scrape(program.metrics_addresses()[0]).total("phalanx_self_probes_total", result=result)


@pytest.mark.parametrize("name", TARGETS)
def test_a_program_whose_port_goes_deaf_ends(cluster, tiny_model, name):
    flags = ["--self_probe_interval", "50ms"]
    worker = cluster.worker(tiny_model, flags=flags).wait_ready()
    coordinator = cluster.coordinator(tiny_model, [worker.target], flags=flags).wait_ready()
    program = {"worker": worker, "coordinator": coordinator}[name]
    wait_until(lambda: probes(program, "answered") >= 3, "it answers itself")
    # No more descriptors, for whatever reason: nobody can connect any more, not even itself.
    program.expected_exit = -signal.SIGABRT
    resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (3, 1024))
    assert program.wait() == -signal.SIGABRT
    assert "(--self_probe_interval): it ends" in program.log()


@pytest.mark.parametrize("name", TARGETS)
def test_reflection_describes_the_service(tiny_serving, name):
    service = TARGETS[name].split("/")[1]
    output = subprocess.run(
        [path_of("GRPCURL"), "-plaintext", getattr(tiny_serving, name).target, "describe", service],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert f"{service} is a service" in output


HEALTH_NAMES = {
    "coordinator": ["", "tiny", "phalanx.v1.Inference", "liveness"],
    "worker": ["", "phalanx.worker.v1.Engine", "liveness"],
}


@pytest.mark.parametrize("name", TARGETS)
def test_health_knows_every_service(tiny_serving, name):
    for service in HEALTH_NAMES[name]:
        assert health(getattr(tiny_serving, name).target, service) == "SERVING", service
    assert health(getattr(tiny_serving, name).target, "other") == "NOT_FOUND"
