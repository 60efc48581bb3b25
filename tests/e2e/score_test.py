"""How likely the real model finds a text: the figures of transformers in float32, from the same file."""

import json
import pathlib
import subprocess

import pytest
from harness import PATIENCE_SECONDS, path_of, pb

GOLDEN = json.loads(pathlib.Path(path_of("SCORES")).read_text())
# The whole text is computed twice, in windows that overlap.
TEXT_SECONDS = 10 * PATIENCE_SECONDS


def text_tokens(stub):
    text = pathlib.Path(path_of("TEXT")).read_text(encoding="utf-8")
    return list(stub.Tokenize(pb.TokenizeRequest(text=text)).token_ids)


def test_the_text_is_long_enough_and_has_the_same_tokens(stub):
    assert GOLDEN["num_tokens"] >= 8000
    assert len(text_tokens(stub)) == GOLDEN["num_tokens"]


def test_log_probabilities_of_the_first_tokens_are_those_of_the_reference(stub):
    golden = GOLDEN["first_log_probs"]
    ids = pb.TokenIds(ids=text_tokens(stub)[: len(golden) + 1])
    log_probs = []
    for event in stub.Score(pb.ScoreRequest(tokens=ids)):
        if event.WhichOneof("event") == "delta":
            assert event.delta.position == len(log_probs) + 1
            log_probs += event.delta.log_probs
    # Logits here are below 40; 2e-5 of that, as for the tiny models, once for the token's and once
    # for the sum over all.
    assert log_probs == pytest.approx(golden, abs=2 * 2e-5 * 40)


def test_perplexity_is_that_of_the_reference(serving):
    run = subprocess.run(
        [path_of("PHALANX"), "perplexity", "--file", path_of("TEXT"), "--json"]
        + ["--window", str(GOLDEN["window"]), "--stride", str(GOLDEN["stride"])]
        + ["--target", serving.target],
        capture_output=True,
        text=True,
        timeout=TEXT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["tokens"] == GOLDEN["num_tokens"] - 1
    assert result["perplexity"] == pytest.approx(GOLDEN["perplexity"], rel=1e-3)
    print(f"perplexity {result['perplexity']}, of the reference {GOLDEN['perplexity']}")
