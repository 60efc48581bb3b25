"""Where the programs listen and what they connect to."""

import contextlib
import socket
import subprocess

import pytest
from harness import GREEDY, PATIENCE_SECONDS, Stub, chat, path_of, read_answer, wait_for_health
from metrics_page import scrape


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback on this host")


def run(program, *flags):
    """Runs a program that is to end by itself."""
    return subprocess.run(
        [path_of(program), *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def port_of(address):
    return int(address.rsplit(":", 1)[1])


@needs_ipv6
@pytest.mark.parametrize("host", ["[::1]", "[::]"])
def test_ipv6_all_the_way(cluster, tiny_model, host):
    listen = f"{host}:0"
    worker = cluster.worker(
        tiny_model, tp=2, listen=listen, metrics_listen=listen
    ).wait_ready()
    assert worker.target.startswith("[::1]:")
    coordinator = cluster.coordinator(
        tiny_model, [worker.target], listen=listen, metrics_listen=listen
    ).wait_ready()
    # What the ready line says can be dialled as it is.
    assert coordinator.target.startswith("[::1]:")
    wait_for_health(coordinator.target, "SERVING")
    request = chat("a", sampling=GREEDY, max_new_tokens=2)
    assert read_answer(Stub(coordinator.target).Generate(request)).finished.reason
    health = run("PHALANX", "health", "--target", coordinator.target)
    assert health.returncode == 0, health.stderr
    pages = worker.metrics_addresses() + coordinator.metrics_addresses()
    assert len(pages) == 3
    for page in pages:
        assert page.startswith("[::1]:")
        assert "phalanx_build_info" in scrape(page).text
    if host == "[::]":
        # Every address is IPv4 as well.
        wait_for_health(f"127.0.0.1:{port_of(coordinator.target)}", "SERVING")
        for page in pages:
            assert "phalanx_build_info" in scrape(f"127.0.0.1:{port_of(page)}").text


def test_every_address_is_dialled_at_the_loopback(cluster, tiny_model):
    everywhere = "0.0.0.0:0"
    worker = cluster.worker(tiny_model, listen=everywhere, metrics_listen=everywhere).wait_ready()
    assert worker.target.startswith("127.0.0.1:")
    assert "phalanx_build_info" in scrape(worker.metrics_addresses()[0]).text


def test_a_name_that_does_not_resolve_keeps_nobody_waiting(cluster, tiny_model):
    worker = cluster.worker(tiny_model).wait_ready()
    targets = ["no-such-host.invalid:50061", worker.target]
    coordinator = cluster.coordinator(tiny_model, targets).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    coordinator.wait_for_log("cannot resolve --worker no-such-host.invalid:50061")


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        ("COORDINATOR", "--listen"),
        ("COORDINATOR", "--metrics_listen"),
        ("COORDINATOR", "--worker"),
        ("WORKER", "--listen"),
        ("WORKER", "--metrics_listen"),
    ],
)
@pytest.mark.parametrize(
    "address", ["127.0.0.1:99999", "127.0.0.1", "unix:/tmp/phalanx", "::1:50051", ":50051"]
)
def test_an_address_is_host_and_port_everywhere(tiny_model, program, flag, address):
    others = [] if program == "WORKER" or flag == "--worker" else ["--worker", "127.0.0.1:1"]
    ended = run(program, "--model", tiny_model, flag, address, *others)
    assert ended.returncode == 2, ended.stderr
    assert flag in ended.stderr
    assert f'"{address}" is not HOST:PORT: ' in ended.stderr


@pytest.mark.parametrize("program", ["COORDINATOR", "WORKER"])
@pytest.mark.parametrize("flag", ["--listen", "--metrics_listen"])
def test_a_port_in_use_is_named_with_its_flag(tiny_model, program, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = {"--listen": "127.0.0.1:0", "--metrics_listen": "127.0.0.1:0", flag: address}
        if program == "COORDINATOR":
            flags["--worker"] = "127.0.0.1:1"
        pairs = [word for pair in flags.items() for word in pair]
        ended = run(program, "--model", tiny_model, *pairs)
    assert ended.returncode == 1, ended.stderr
    assert f"cannot listen on {address}: " in ended.stderr
    assert "in use" in ended.stderr
    assert flag in ended.stderr
