"""The wall clock of running programs is set by an hour: streams, deadlines, pings, reconnects and drains do not notice."""

import datetime
import mmap
import signal
import struct
import time

import grpc
import pytest
from harness import (
    GREEDY,
    Serving,
    chat,
    first_delta,
    health,
    path_of,
    status_of,
    wait_for_health,
)

# Far above what should take a second or a few, far below the hour.
SOON_SECONDS = 30


class WallClock:
    """The wall clock of all programs that run under it."""

    def __init__(self, path):
        path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self._seconds = mmap.mmap(file.fileno(), 8)
        library = path_of("MOVABLE_WALL_CLOCK")
        self.prefix = ["env", f"LD_PRELOAD={library}", f"PHALANX_WALL_CLOCK={path}"]

    def move(self, hours):
        (seconds,) = struct.unpack("q", self._seconds)
        self._seconds[:] = struct.pack("q", seconds + hours * 3600)


@pytest.fixture
def wall_clock(tmp_path):
    return WallClock(tmp_path / "wall_clock")


@pytest.fixture
def serving(cluster, tiny_model, wall_clock):
    """A worker group of two ranks and a coordinator, whose clock can be set."""
    worker = cluster.worker(tiny_model, tp=2, prefix=wall_clock.prefix).wait_ready()
    coordinator = cluster.coordinator(tiny_model, [worker.target], prefix=wall_clock.prefix).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    return Serving(worker, coordinator)


BOTH_WAYS = pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forward"])


def endless(serving, timeout=300):
    """An answer that goes on for longer than any test."""
    request = chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=16000)
    return serving.stub().Generate(request, timeout=timeout)


def last_date(program):
    """When the last line of its log was written, in seconds since 1970."""
    date = program.log().splitlines()[-1].split()[1]
    return datetime.datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp()


def assert_soon(start, what):
    assert time.monotonic() - start < SOON_SECONDS, what


@BOTH_WAYS
def test_a_stream_goes_on_and_health_stays(serving, wall_clock, hours):
    stream = endless(serving)
    first_delta(stream)
    for _ in range(3):
        wall_clock.move(hours)
        start = time.monotonic()
        while time.monotonic() - start < 0.5:
            first_delta(stream)
        assert health(serving.target) == "SERVING"
        assert health(serving.worker.target) == "SERVING"
    stream.cancel()
    serving.wait_idle()


@BOTH_WAYS
def test_a_deadline_passes_in_time(serving, wall_clock, hours):
    ends = serving.ends()
    stream = endless(serving, timeout=1)
    first_delta(stream)
    wall_clock.move(hours)
    start = time.monotonic()
    assert status_of(stream)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.3 < time.monotonic() - start < SOON_SECONDS
    serving.wait_idle()
    assert ends.at_coordinator() == {"DEADLINE_EXCEEDED": 1}
    # And one that is given after the clock was set.
    start = time.monotonic()
    stream = endless(serving, timeout=1)
    assert status_of(stream)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.9 < time.monotonic() - start < SOON_SECONDS
    serving.wait_idle()


@BOTH_WAYS
def test_a_stopped_leader_is_noticed_and_found_again(serving, wall_clock, hours):
    stream = endless(serving)
    first_delta(stream)
    wall_clock.move(hours)
    serving.worker.send(signal.SIGSTOP)
    start = time.monotonic()
    assert status_of(stream)[0] == grpc.StatusCode.UNAVAILABLE
    assert_soon(start, "the coordinator's pings")
    wait_for_health(serving.target, "NOT_SERVING")
    wall_clock.move(hours)
    serving.worker.send(signal.SIGCONT)
    start = time.monotonic()
    wait_for_health(serving.target, "SERVING")
    assert_soon(start, "the coordinator's next attempt")


@BOTH_WAYS
def test_a_worker_that_comes_back_is_found(cluster, tiny_model, serving, wall_clock, hours):
    address = serving.worker.target
    serving.worker.stop()
    wait_for_health(serving.target, "NOT_SERVING")
    wall_clock.move(hours)
    cluster.worker(tiny_model, listen=address, prefix=wall_clock.prefix).wait_ready()
    start = time.monotonic()
    wait_for_health(serving.target, "SERVING")
    assert_soon(start, "the coordinator's next attempt")


@BOTH_WAYS
def test_drains_end_in_time(cluster, tiny_model, wall_clock, hours):
    flags = ["--drain_timeout", "1s", "--lame_duck", "200ms"]
    prefix = wall_clock.prefix
    worker = cluster.worker(tiny_model, flags=flags, prefix=prefix).wait_ready()
    coordinator = cluster.coordinator(tiny_model, [worker.target], flags=flags, prefix=prefix).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    stream = endless(Serving(worker, coordinator))
    first_delta(stream)
    for program in (coordinator, worker):
        start = time.monotonic()
        program.send(signal.SIGTERM)
        wall_clock.move(hours)
        program.wait_for_log("draining")
        wall_clock.move(hours)
        assert program.wait(SOON_SECONDS) == 0, program.log()
        assert time.monotonic() - start > 0.2
        # The clock that the programs see was set indeed: their lines are dated by it.
        assert (last_date(program) - time.time()) * hours > 1800, program.log()
    assert status_of(stream)[0] == grpc.StatusCode.UNAVAILABLE
