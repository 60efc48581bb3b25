"""Starts the real programs for a test, and sees to it that none is left behind.

Paths come from the environment, as the Bazel targets set it (see e2e_test.bzl).
"""

import dataclasses
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading
import time

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from metrics_page import scrape

from phalanx.v1 import inference_pb2 as pb
from phalanx.v1 import inference_pb2_grpc

# How long anything may take that should take a moment: the machine may be busy.
PATIENCE_SECONDS = 60

ANY_PORT = "127.0.0.1:0"


def unused_port():
    """For programs that are told their port: the system gives out the ports of its choice in no order."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def end_flags(flags):
    """Nobody waits for routers that are not there, unless the test is about that."""
    return [] if "--lame_duck" in flags else ["--lame_duck", "0s"]


def path_of(name):
    """Absolute path of a program or file that the Bazel target passed as PHALANX_<name>."""
    return str(pathlib.Path(os.environ["PHALANX_" + name]).absolute())


def wait_until(condition, what, timeout=PATIENCE_SECONDS):
    """Polls until condition() is true and returns what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.01)


# A test that is killed takes its programs along. Not by Popen's preexec_fn: code of a process with
# gRPC's threads that runs between fork and exec may wait for ever for a lock that one of them held,
# or abort in what gRPC does after a fork.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


def activation_flags(flags, program="WORKER"):
    """Float32 for CPUs, unless `flags` say otherwise."""
    is_told = any(flag.split("=")[0] == "--activations" for flag in flags)
    return [] if is_told or program != "WORKER" else ["--activations", "f32"]


class Program:
    """One server process, in a process group of its own with all that it starts."""

    def __init__(self, name, command, log_path):
        self.name = name
        self.log_path = log_path
        # What the process must exit with when it is stopped, or None for anything but 0.
        self.expected_exit = 0
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*DIE_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read_stdout, daemon=True)
        self._reader.start()
        self.ready = None
        self._stopped = False

    def _read_stdout(self):
        for line in self.process.stdout:
            self._lines.put(line.decode())
        self._lines.put(None)

    def wait_ready(self):
        """Waits for the line `ready key=value ...` and keeps it as a dict."""
        line = self._lines.get(timeout=PATIENCE_SECONDS)
        assert line is not None, f"{self.name} ended before it was ready:\n{self.log()}"
        words = line.split()
        assert words and words[0] == "ready", f"{self.name} said {line!r}"
        self.ready = dict(word.split("=", 1) for word in words[1:])
        return self

    @property
    def target(self):
        return self.ready["grpc"]

    def metrics_addresses(self):
        return self.ready["metrics"].split(",")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text):
        wait_until(lambda: text in self.log(), f"{self.name} logs {text!r}")

    def group(self):
        """The living processes of the group: a leader and its ranks."""
        members = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                pass
        return members

    def ranks(self):
        """The ranks that the leader started, in order; not the process that tries constraints."""
        members = [p for p in self.group() if p.pid != self.process.pid]
        return sorted((p for p in members if p.cmdline()[:1] != ["check-constraint"]), key=lambda p: p.pid)

    def send(self, signal_number):
        self.process.send_signal(signal_number)

    def wait(self, timeout=PATIENCE_SECONDS):
        return self.process.wait(timeout)

    def stop(self):
        """SIGTERM, then checks the exit code, the output and that nothing is left. Once is enough."""
        if self._stopped:
            return
        self._stopped = True
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        try:
            code = self.wait()
            if self.expected_exit is None:
                assert code != 0, f"{self.name} exited with 0\n{self.log()}"
            else:
                assert code == self.expected_exit, f"{self.name} exited with {code}\n{self.log()}"
            wait_until(lambda: not self.group(), f"the processes of {self.name} have ended")
            self._reader.join(timeout=PATIENCE_SECONDS)
            assert self._lines.get_nowait() is None, f"{self.name} said more than one line"
        finally:
            for process in self.group():
                process.kill()


class Cluster:
    """The programs of one test."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.programs = []

    def _start(self, name, command):
        log_path = self.folder / f"{name}-{len(self.programs)}.log"
        program = Program(name, command, log_path)
        self.programs.append(program)
        return program

    def worker(
        self, model, tp=1, listen=ANY_PORT, metrics_listen=ANY_PORT, flags=(), prefix=(), program="WORKER"
    ):
        """A worker group; `prefix` is a command that executes the one behind it.

        It computes in float32, as the reference does, so that answers are known, unless `flags` say
        otherwise.
        """
        addresses = ["--listen", listen, "--metrics_listen", metrics_listen]
        flags = [*end_flags(flags), *activation_flags(flags, program), *flags]
        command = [path_of(program), "--model", model, "--tp", str(tp), *addresses, *flags]
        return self._start("worker", [*prefix, *command])

    def rank(self, model, rank, group_socket=None, world=2, program=None, meet=None, flags=()):
        """One process of a group whose ranks are started by hand; rank 0 leads it.

        They meet at `group_socket`, or as the flags `meet` say.
        """
        meet = meet or ["--group_socket", group_socket]
        place = ["--world", str(world), "--rank", str(rank), *meet]
        addresses = ["--listen", ANY_PORT, "--metrics_listen", ANY_PORT]
        flags = [*end_flags(flags), *activation_flags(flags), *flags]
        command = [program or path_of("WORKER"), "--model", model, *place, *addresses, *flags]
        return self._start(f"rank{rank}", command)

    def host_rank(
        self,
        model,
        rank,
        leader,
        world=3,
        flags=(),
        listen=ANY_PORT,
        metrics_listen=ANY_PORT,
        prefix=(),
        program="WORKER",
    ):
        """One process of a group over several hosts, whose rank 0 is at `leader`.

        It computes with one thread: here the hosts share their CPUs.
        """
        place = ["--world", str(world), "--rank", str(rank), "--leader", leader, "--threads", "1"]
        addresses = ["--listen", listen, "--metrics_listen", metrics_listen]
        flags = [*end_flags(flags), *activation_flags(flags, program), *flags]
        command = [path_of(program), "--model", model, *place, *addresses, *flags]
        return self._start(f"rank{rank}", [*prefix, *command])

    def coordinator(self, model, workers, listen=ANY_PORT, metrics_listen=ANY_PORT, flags=(), prefix=()):
        """`prefix` as for worker."""
        addresses = ["--listen", listen, "--metrics_listen", metrics_listen]
        for address in workers:
            addresses += ["--worker", address]
        command = [path_of("COORDINATOR"), "--model", model, *addresses, *end_flags(flags), *flags]
        return self._start("coordinator", [*prefix, *command])

    def serve(self, model, tp=1, worker_flags=(), coordinator_flags=()):
        """A worker group and a coordinator that is SERVING."""
        return self._serve(self.worker(model, tp, flags=worker_flags), model, coordinator_flags)

    def serve_on_emulator(self, model, tp=1, worker_flags=()):
        """The same with a worker whose GPUs are emulated."""
        worker = self.worker(model, tp, flags=worker_flags, program="EMULATED_GPU_WORKER")
        return self._serve(worker, model, ())

    def _serve(self, worker, model, coordinator_flags):
        worker.wait_ready()
        coordinator = self.coordinator(model, [worker.target], flags=coordinator_flags).wait_ready()
        wait_for_health(coordinator.target, "SERVING")
        return Serving(worker, coordinator)

    def stop(self):
        """Stops all; coordinators, which came last, first."""
        failures = []
        for program in reversed(self.programs):
            try:
                program.stop()
            except (AssertionError, subprocess.TimeoutExpired, queue.Empty) as failure:
                failures.append(f"{program.name}: {failure}")
        assert not failures, "\n".join(failures)


@dataclasses.dataclass
class Serving:
    worker: Program
    coordinator: Program

    @property
    def target(self):
        return self.coordinator.target

    def programs(self):
        return [self.coordinator, self.worker]

    def stub(self):
        return Stub(self.target)

    def engine(self):
        return scrape(self.worker.metrics_addresses()[0])

    def ends(self):
        """Counts requests by how they end: call it before, and `since` on the result after."""
        return Ends(self)

    def wait_idle(self):
        """Waits until no request is left anywhere and every KV block is free."""

        def idle():
            engine, front = self.engine(), scrape(self.coordinator.metrics_addresses()[0])
            return (
                engine.total("phalanx_engine_kv_blocks_used") == 0
                and engine.total("phalanx_engine_requests_running") == 0
                and engine.total("phalanx_engine_requests_waiting") == 0
                and front.total("phalanx_requests_running") == 0
                and front.total("phalanx_requests_waiting") == 0
            )

        wait_until(idle, "no request and no used KV block is left")


class Ends:
    """What the coordinator and the engine counted of requests that ended, from one moment on."""

    def __init__(self, serving):
        self._serving = serving
        self._before = self._read()

    def _read(self):
        front = scrape(self._serving.coordinator.metrics_addresses()[0])
        engine = self._serving.engine()
        return {
            "coordinator": front.values("phalanx_requests_total", "code", method="Generate"),
            "engine": engine.values("phalanx_engine_requests_total", "code"),
            "tokens": engine.values("phalanx_engine_generation_tokens_total"),
        }

    def _since(self, key):
        now = self._read()[key]
        grown = {label: value - self._before[key].get(label, 0) for label, value in now.items()}
        return {label: value for label, value in grown.items() if value}

    def at_coordinator(self):
        """Generate calls that have ended since, by status code, for example {"CANCELLED": 1}."""
        return self._since("coordinator")

    def in_engine(self):
        """Requests that the engine has ended since, by status code."""
        return self._since("engine")

    def tokens(self):
        """Tokens that the engine has generated since."""
        return sum(self._since("tokens").values())


# --- Calls ---


OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


class Stub:
    """phalanx.v1.Inference on a connection of its own, with a deadline on every call."""

    def __init__(self, target, options=OWN_CONNECTION):
        self._stub = inference_pb2_grpc.InferenceStub(grpc.insecure_channel(target, options))

    def __getattr__(self, method):
        call = getattr(self._stub, method)
        return lambda request, timeout=PATIENCE_SECONDS, **options: call(
            request, timeout=timeout, **options
        )


def chat(*contents, **fields):
    """A GenerateRequest: contents are turns of user and assistant, a user's first."""
    roles = ("user", "assistant")
    messages = [pb.Message(role=roles[i % 2], content=c) for i, c in enumerate(contents)]
    return pb.GenerateRequest(chat=pb.Chat(messages=messages), **fields)


GREEDY = pb.Sampling(temperature=0)


@dataclasses.dataclass
class Answer:
    started: pb.Started = None
    text: str = ""
    token_ids: list = dataclasses.field(default_factory=list)
    finished: pb.Finished = None


def read_answer(stream, answer=None):
    """Reads a whole stream, checking its grammar, its sequence numbers and its token count."""
    answer = answer or Answer()
    next_sequence = 0
    for event in stream:
        kind = event.WhichOneof("event")
        assert answer.finished is None, "an event after finished"
        if kind == "started":
            assert answer.started is None, "started came twice"
            answer.started = event.started
        elif kind == "delta":
            assert answer.started is not None, "delta before started"
            assert event.delta.sequence == next_sequence, "a gap in the sequence"
            next_sequence += 1
            answer.text += event.delta.text
            answer.token_ids += event.delta.token_ids
        else:
            answer.finished = event.finished
    assert answer.finished is not None, "the stream ended without finished"
    assert answer.finished.usage.completion_tokens == len(answer.token_ids)
    assert answer.finished.usage.prompt_tokens == answer.started.prompt_tokens
    return answer


def first_delta(stream):
    """Reads until the first delta: the request now runs."""
    for event in stream:
        if event.WhichOneof("event") == "delta":
            return event.delta
    raise AssertionError("the stream ended before a delta")


def status_of(call):
    """The status code and details that a stream or a unary call ends with."""
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def health(target, service=""):
    """SERVING, NOT_SERVING, or the name of the status code of a failed call."""
    with grpc.insecure_channel(target, OWN_CONNECTION) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        except grpc.RpcError as error:
            return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)


def wait_for_health(target, state, service=""):
    wait_until(lambda: health(target, service) == state, f"{target} is {state}")
