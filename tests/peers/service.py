"""Phalanx as its users meet it: a coordinator and a worker, asked over gRPC by `phalanx bench`."""

import json
import subprocess

from measure import PeerError

# Prompts of deep decodes are computed each time, unlike in the engine bench: that takes too long.
MOST_PROMPT_TOKENS = 1024


def ready_value(line, key):
    """The value of a key of the line that a server prints once it is ready."""
    values = dict(word.partition("=")[::2] for word in line.split())
    return values.get(key)


def answer_of(line, figures):
    """What the other programs would answer, from the figures of `phalanx bench`."""
    kind, *numbers = line.split()
    if kind == "prefill":
        seconds = figures["time_to_first_token_seconds"]["p50"]
        return {"tokens_per_second": int(numbers[0]) / seconds}
    # The time between tokens while all decode. The median leaves out the beginning, when prompts of
    # some are computed beside the decodes of others.
    return {"tokens_per_second": int(numbers[0]) / figures["inter_token_seconds"]["p50"]}


def bench_flags(line):
    """The flags of `phalanx bench` that measure the same as a line for the other programs."""
    kind, *numbers = line.split()
    if kind == "prefill":
        shape = {"concurrency": 1, "requests": 1, "prompt_tokens": numbers[0], "output_tokens": 1}
    else:
        sequences, depth, steps = map(int, numbers)
        shape = {
            "concurrency": sequences,
            "requests": sequences,
            "prompt_tokens": max(depth, 1),
            # Longer than in the engine bench, whose sequences wait for each other.
            "output_tokens": 2 * steps + 16,
        }
    return [f"--{name}={value}" for name, value in shape.items()]


class Service:
    """Has the methods of measure.Program."""

    def __init__(self, name, programs, model, threads, worker_arguments, log, stream_interval=1):
        """`programs` has the paths of worker, coordinator and phalanx."""
        self.name = name
        self._phalanx = programs["phalanx"]
        self._bench_flags = ["--warmup=0", "--json=-", f"--stream_interval={stream_interval}"]
        self._log = log
        self._servers = []
        try:
            worker = self._start(
                programs["worker"], "--model", model, "--threads", threads, *worker_arguments
            )
            self._target = self._start(
                programs["coordinator"], "--model", model, "--worker", worker
            )
            self._run("health", "--wait", "120s")
        except BaseException:
            self.close()
            raise
        together = f", {stream_interval} tokens at a time" if stream_interval > 1 else ""
        self.setting = {"backend": "worker and coordinator, over gRPC" + together}

    def ask(self, line):
        kind, *numbers = line.split()
        if kind == "decode" and int(numbers[1]) >= MOST_PROMPT_TOKENS:
            return {"skipped": "its prompt would be computed each time"}
        figures = json.loads(self._run("bench", *self._bench_flags, *bench_flags(line)))
        return answer_of(line, figures)

    def close(self):
        # The coordinator, which came last, first.
        for server in reversed(self._servers):
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            server.stdout.close()
        self._servers = []

    def _start(self, program, *arguments):
        """Starts a server and returns the address of its port."""
        command = [str(word) for word in (program, *arguments)]
        command += ["--listen", "127.0.0.1:0", "--metrics_listen", "127.0.0.1:0", "--lame_duck", "0s"]
        try:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        except OSError as error:
            raise PeerError(f"{self.name} cannot be started: {error}") from error
        self._servers.append(server)
        address = ready_value(server.stdout.readline(), "grpc")
        if address is None:
            raise PeerError(f"{self.name}: {program} did not start; see {self._log.name}")
        return address

    def _run(self, command, *arguments):
        words = [str(self._phalanx), command, "--target", self._target, *arguments]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise PeerError(f"{self.name}: {run.stderr.strip()}")
        return run.stdout
