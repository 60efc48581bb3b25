"""The log of both programs: nobody has to read it for them to serve, and machines can."""

import fcntl
import json
import os
import time

import grpc
import pytest
from harness import (
    GREEDY,
    PATIENCE_SECONDS,
    Stub,
    chat,
    health,
    pb,
    read_answer,
    status_of,
    wait_for_health,
    wait_until,
)
from metrics_page import scrape

DROPPED = "phalanx_log_lines_dropped_total"
F_SETPIPE_SZ = 1031

# Executes the command behind it with its standard error on the path $0.
REDIRECT = ("/bin/sh", "-c", 'exec "$@" 2>"$0"')


class UnreadPipe:
    """A pipe that is full from the start; a program writes into it by prefix()."""

    def __init__(self, path):
        self._path = str(path)
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._fd, F_SETPIPE_SZ, 4096)
        os.write(self._fd, b"-" * 4095 + b"\n")

    def prefix(self):
        return (*REDIRECT, self._path)

    def read(self, enough):
        """Reads until enough(text) and returns the text, without what the pipe was filled with."""
        text = b""

        def more():
            nonlocal text
            try:
                text += os.read(self._fd, 1 << 20)
            except BlockingIOError:
                pass
            return enough(text.decode())

        wait_until(more, "enough of the log")
        return text.decode().split("\n", 1)[1]


@pytest.fixture
def unread(tmp_path):
    """Makes pipes that nobody reads."""
    return lambda name: UnreadPipe(tmp_path / name)


def refuse(stub, times):
    """Calls that are refused, each with a line in the coordinator's log."""
    for _ in range(times):
        code, _ = status_of(stub.Generate(pb.GenerateRequest(model="x" * 60, text="a")))
        assert code == grpc.StatusCode.NOT_FOUND


def test_nobody_has_to_read_the_log(cluster, tiny_model, unread):
    worker_log, coordinator_log = unread("worker"), unread("coordinator")
    worker = cluster.worker(tiny_model, tp=2, prefix=worker_log.prefix()).wait_ready()
    coordinator = cluster.coordinator(
        tiny_model,
        [worker.target],
        flags=["--log_format", "json"],
        prefix=coordinator_log.prefix(),
    ).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    page = coordinator.metrics_addresses()[0]
    assert scrape(page).total(DROPPED) == 0
    stub = Stub(coordinator.target)

    requests = 0
    while scrape(page).total(DROPPED) == 0:
        assert requests < 100_000, "no line was ever dropped"
        refuse(stub, 500)
        requests += 500
    assert requests > 1000
    assert health(coordinator.target) == "SERVING"
    answer = read_answer(stub.Generate(chat("a", sampling=GREEDY, max_new_tokens=3)))
    assert answer.finished.reason

    # Once somebody reads, the log goes on, and says what is missing.
    text = coordinator_log.read(lambda text: "are missing here" in text and text[-1] == "\n")
    lines = [json.loads(line) for line in text.splitlines()]
    told = [line["message"] for line in lines if "are missing here" in line["message"]]
    assert int(told[0].split()[0]) <= scrape(page).total(DROPPED)
    assert sum('error="model: ' in line["message"] for line in lines) > 1000

    # Full again, so that the last lines cannot be written either.
    refuse(stub, 100)
    for program in (coordinator, worker):
        begin = time.monotonic()
        program.stop()
        assert time.monotonic() - begin < PATIENCE_SECONDS / 2


def test_lines_that_cannot_be_written_are_counted_on_every_rank(cluster, tiny_model):
    worker = cluster.worker(tiny_model, tp=2, prefix=(*REDIRECT, "/dev/full")).wait_ready()
    pages = worker.metrics_addresses()
    assert len(pages) == 2
    for page in pages:
        wait_until(lambda page=page: scrape(page).total(DROPPED) > 0, "a line was dropped")


def test_json_lines_of_every_process(cluster, tiny_model):
    flags = ["--log_format", "json"]
    worker = cluster.worker(tiny_model, tp=2, flags=flags).wait_ready()
    coordinator = cluster.coordinator(tiny_model, [worker.target], flags=flags).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    refuse(Stub(coordinator.target), 1)
    coordinator.stop()
    worker.stop()
    lines = {}
    for program in (worker, coordinator):
        lines[program] = [json.loads(line) for line in program.log().splitlines()]
        for line in lines[program]:
            assert {"time", "severity", "file", "line", "message"} <= line.keys()
    assert {line["tag"] for line in lines[worker]} == {"rank 0", "rank 1"}
    assert any("code=NOT_FOUND" in line["message"] for line in lines[coordinator])
    assert not any("tag" in line for line in lines[coordinator])
