"""phalanx bench measures a server that runs, and ends as it should when it is interrupted."""

import json
import signal
import subprocess

from harness import PATIENCE_SECONDS, path_of, wait_until


def bench(target, *flags):
    return subprocess.run(
        [path_of("PHALANX"), "bench", "--target", target, *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_bench_counts_what_the_server_generates(cluster, tiny_model, tmp_path):
    serving = cluster.serve(tiny_model)
    ends = serving.ends()
    path = tmp_path / "figures.json"
    run = bench(
        serving.target,
        *("--requests", "12", "--concurrency", "4", "--warmup", "2", "--seed", "3"),
        *("--prompt_tokens", "5-40", "--output_tokens", "6", "--json", str(path)),
    )
    assert run.returncode == 0, run.stderr
    assert "12 completed, 0 failed" in run.stdout
    figures = json.loads(path.read_text())
    assert figures["completed"] == 12
    assert 12 * 5 <= figures["total_tokens_per_second"] * figures["duration_seconds"] - 12 * 6 <= 12 * 40
    assert round(figures["output_tokens_per_second"] * figures["duration_seconds"]) == 12 * 6
    first, whole = figures["time_to_first_token_seconds"], figures["end_to_end_seconds"]
    assert 0 < first["p50"] <= first["p90"] <= first["p99"] <= first["max"]
    assert first["max"] <= whole["max"] <= figures["duration_seconds"]
    assert figures["inter_token_seconds"]["count"] <= 12 * 5
    # The server has the same count, with the two that came before.
    assert ends.tokens() == 14 * 6


def test_bench_at_a_rate_takes_as_long_as_that_needs(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    flags = ("--prompt_tokens", "5", "--output_tokens", "2", "--requests", "20", "--json", "-")
    run = bench(serving.target, "--rate", "40", *flags)
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert figures["completed"] == 20
    # 19 intervals of 25 ms on average; those of seed 1 are known to be no shorter than half of that.
    assert figures["duration_seconds"] > 19 / 40 / 2


def test_bench_without_a_server_fails_at_once():
    run = bench("127.0.0.1:1", "--requests", "1000000")
    assert run.returncode == 3
    assert "UNAVAILABLE" in run.stderr


def test_bench_tells_of_requests_that_are_refused(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    run = bench(serving.target, "--prompt_tokens", "100000", "--requests", "5")
    assert run.returncode == 4
    assert "1 of 1 requests failed" in run.stderr


def test_interrupted_bench_prints_what_there_is(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    run = subprocess.Popen(
        [path_of("PHALANX"), "bench", "--target", serving.target, "--requests", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(
        lambda: serving.engine().total("phalanx_engine_generation_tokens_total") > 5000,
        "some requests to be answered",
    )
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130, errors
    assert "interrupted with" in out
    assert "time to first token" in out
    serving.wait_idle()
