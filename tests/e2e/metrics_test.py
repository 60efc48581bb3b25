"""The /metrics pages: who may keep them waiting, and what they say."""

import contextlib
import socket

import grpc
from harness import (
    GREEDY,
    Stub,
    chat,
    first_delta,
    pb,
    read_answer,
    scrape,
    status_of,
    wait_until,
)


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


def test_silent_connections_keep_no_page_waiting(serving):
    for program in serving.programs():
        for page in program.metrics_addresses():
            with contextlib.ExitStack() as open_sockets:
                silent = [open_sockets.enter_context(connect(page)) for _ in range(50)]
                for speaker in silent[::2]:
                    speaker.sendall(b"GET /metr")
                assert "phalanx_build_info" in scrape(page).text
                # Not because they were closed: none has got an end of file.
                for one in silent:
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        assert one.recv(1) != b"", "closed, so the page did wait"
