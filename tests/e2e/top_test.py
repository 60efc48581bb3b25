"""phalanx top shows what a worker group does, and says so when it cannot."""

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios

from harness import GREEDY, PATIENCE_SECONDS, chat, first_delta, path_of, wait_until


def top(*flags):
    return subprocess.run(
        [path_of("PHALANX"), "top", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_top_tells_of_requests_that_run_and_wait(cluster, smollm2):
    serving = cluster.serve(smollm2, worker_flags=["--max_seqs", "1"])
    worker = serving.worker.target
    request = chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=4000)
    first = serving.stub().Generate(request)
    first_delta(first)
    second = serving.stub().Generate(request)

    def look():
        run = top("--worker", worker, "--once", "--json")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    state = wait_until(lambda: (s := look())["waiting_requests"] == 1 and s, "the second waits")
    assert state["running_requests"] == 1
    running, waiting = state["requests"]
    assert running["state"] == "decoding"
    assert running["generated_tokens"] > 0
    assert running["age_seconds"] > waiting["age_seconds"]
    assert waiting["state"] == "waiting"
    assert waiting["kv_blocks"] == 0
    assert state["blocks"]["used"] >= running["kv_blocks"] > 0
    assert state["steps"]["generated_tokens_per_second"] > 0
    text = top("--worker", worker, "--once")
    assert text.returncode == 0, text.stderr
    assert "1 running, 1 waiting" in text.stdout
    assert "Count" not in text.stdout
    first.cancel()
    second.cancel()
    serving.wait_idle()
    assert look()["requests"] == []


def test_top_shows_the_ranks(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2, worker_flags=["--stall_timeout", "1m"])
    worker = serving.worker.target
    stream = serving.stub().Generate(chat("Count.", sampling=GREEDY, ignore_eos=True, max_new_tokens=4000))
    first_delta(stream)

    def ranks():
        run = top("--worker", worker, "--once", "--json")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)["ranks"]

    # Their load is told once a second.
    leader, other = wait_until(lambda: all(r["step_seconds"] for r in ranks()) and ranks(), "steps are timed")
    (process,) = serving.worker.ranks()
    assert [leader["process_id"], other["process_id"]] == [serving.worker.process.pid, process.pid]
    for number, rank in enumerate([leader, other]):
        assert (rank["rank"], rank["state"], rank["host"]) == (number, "ready", socket.gethostname())
        assert rank["step_seconds"] > rank["comm_seconds"] > 0
        assert rank["resident_bytes"] > rank["weight_bytes"] > 0
        assert rank["kv_cache_bytes"] > 0
    assert min(leader["lag_seconds"], other["lag_seconds"]) == 0
    assert leader["heartbeat_age_seconds"] == 0 <= other["heartbeat_age_seconds"]
    text = top("--worker", worker, "--once")
    assert f"{process.pid}" in text.stdout and "HEARTBEAT" in text.stdout

    process.suspend()
    told = wait_until(
        lambda: (run := top("--worker", worker, "--once")).returncode and "last heard of" in run.stderr and run,
        "a rank that hangs is told of",
    )
    process.resume()
    assert f"rank 1 (process {process.pid}) was last heard of" in told.stderr
    stream.cancel()
    serving.wait_idle()


def test_top_on_a_terminal_quits_on_q_and_restores_it(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    user, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
    before = termios.tcgetattr(program)
    process = subprocess.Popen(
        [path_of("PHALANX"), "top", "--worker", serving.worker.target, "--interval", "50ms"],
        stdin=program,
        stdout=program,
        stderr=program,
    )
    seen = b""
    while seen.count(b"\x1b[H") < 3:
        seen += os.read(user, 4096)
    assert b"0 running, 0 waiting" in seen
    assert termios.tcgetattr(program)[3] != before[3]
    os.write(user, b"q")
    assert process.wait(PATIENCE_SECONDS) == 0
    seen += os.read(user, 65536)
    assert seen.endswith(b"\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(program) == before
    os.close(user)
    os.close(program)


def test_top_ends_with_a_signal_or_without_a_worker(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    process = subprocess.Popen(
        [path_of("PHALANX"), "top", "--worker", serving.worker.target, "--interval", "50ms"],
        stdout=subprocess.PIPE,
        text=True,
    )
    while not process.stdout.readline().startswith("requests"):
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    coordinator = top("--worker", serving.target, "--once")
    assert coordinator.returncode == 4
    assert "is no worker" in coordinator.stderr
    serving.worker.stop()
    gone = top("--worker", serving.worker.target, "--once")
    assert gone.returncode == 3
    assert "UNAVAILABLE" in gone.stderr
