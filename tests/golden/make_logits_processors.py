"""Writes logits_processors.json: what transformers' logits processors keep of rows. See README.md.

Usage: python make_logits_processors.py

Presence and frequency penalties, which transformers has not, are those of vLLM's documentation:
logits -= frequency_penalty * count, then logits -= presence_penalty where count > 0.
"""

import json
import math
import os

import torch
from transformers.generation import logits_process as hf

import smollm2_tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
# How far, relatively, everything that decides whether a token is kept must be from its border. Our
# weights are whole numbers of 44 bits, distances from the mean are rounded to float32, and our two
# penalties come in the other order, so nearer ones may be decided otherwise. Ties are ruled out by
# this too: transformers keeps all tokens that tie with the last one, we keep those of the lowest ids.
MARGIN = 1e-4
# How far apart two distances from the mean must be.
DISTANCE_MARGIN = 1e-5
# A token this much below the likeliest, e^-30.5 of its probability, has no weight of 44 bits.
LARGEST_FALL = 44 * math.log(2)
# Our log-probabilities are compared for this many tokens of a row.
LOG_PROBS = 16


def f32(value):
    """The nearest float32, as a Python float."""
    return float(torch.tensor(value, dtype=torch.float32))


# What a row asks for. Every parameter alone, then together.
EDITS = [
    {"logit_bias": True},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"presence_penalty": 0.8},
    {"presence_penalty": -1.5},
    {"frequency_penalty": 0.4},
    {"frequency_penalty": -0.6},
    {"presence_penalty": 1.1, "frequency_penalty": 0.3},
    {"logit_bias": True, "repetition_penalty": 1.2},
    {"logit_bias": True, "repetition_penalty": 1.15, "presence_penalty": 0.5, "frequency_penalty": 0.2},
]
CUTS = [
    {"temperature": 0.3},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 7},
    {"top_p": 0.1},
    {"top_p": 0.6},
    {"top_p": 0.95},
    {"min_p": 0.02},
    {"min_p": 0.3},
    {"typical_p": 0.2},
    {"typical_p": 0.6},
    {"typical_p": 0.95},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"temperature": 1.5, "top_p": 0.8, "min_p": 0.05},
    {"temperature": 1.3, "top_k": 30, "typical_p": 0.5},
    {"temperature": 0.9, "top_k": 40, "top_p": 0.97, "min_p": 0.01, "typical_p": 0.9},
    {"temperature": 1.8, "top_k": 25, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.7},
]


def cases():
    """The parameters of each row: edits alone, cuts alone, and each of the cuts behind edits."""
    yield from ({**edit} for edit in EDITS)
    yield from ({**cut} for cut in CUTS)
    yield from ({**EDITS[i % 3 - 3], **cut} for i, cut in enumerate(CUTS))


def edited(logits, prompt, answer, asked):
    """The row after bias and penalties, in float32, each operation by itself."""
    ids = torch.tensor([prompt + answer])
    scores = logits[None].clone()
    if asked["logit_bias"]:
        bias = {(token,): value for token, value in asked["logit_bias"]}
        scores = hf.SequenceBiasLogitsProcessor(sequence_bias=bias)(ids, scores)
    if asked["repetition_penalty"] != 1:
        scores = hf.RepetitionPenaltyLogitsProcessor(asked["repetition_penalty"])(ids, scores)
    counts = torch.bincount(torch.tensor(answer, dtype=torch.int64), minlength=len(logits))[None]
    scores = scores - asked["frequency_penalty"] * counts.float()
    return (scores - asked["presence_penalty"] * (counts > 0).float())[0]


def far_from(values, border):
    return bool(((values - border).abs() > MARGIN * abs(border)).all())


def is_clear(name, scores, value):
    """Whether no token of this row, before the processor, is near the border of what it keeps."""
    probabilities = torch.softmax(scores[scores > -torch.inf], 0).sort(descending=True).values
    sums = probabilities.cumsum(0)
    if name == "top_k":
        at = min(value, len(probabilities) - 1)
        return far_from(probabilities[at:at + 1], probabilities[at - 1])
    if name == "top_p":
        return far_from(sums, value) and far_from(probabilities[1:] / probabilities[:-1], 1)
    if name == "min_p":
        return far_from(probabilities / probabilities[0], value)
    information = -probabilities.log()
    distances = (information - (probabilities * information).sum()).abs()
    order = distances.argsort()
    distances = distances[order]
    are_apart = bool((distances[1:] - distances[:-1] > DISTANCE_MARGIN).all())
    return are_apart and far_from(probabilities[order].cumsum(0), value)


def kept(row, ids, asked):
    """The row after temperature and cuts, in float64; None if a token is too near a border."""
    scores = hf.TemperatureLogitsWarper(asked["temperature"])(ids, row.double()[None])
    falls = scores.max() - scores
    if not far_from(falls, LARGEST_FALL):
        return None
    for name, warper, off in [
        ("top_k", hf.TopKLogitsWarper, 0),
        ("top_p", hf.TopPLogitsWarper, 1),
        ("min_p", hf.MinPLogitsWarper, 0),
        ("typical_p", hf.TypicalLogitsWarper, 1),
    ]:
        if asked[name] == off:
            continue
        if not is_clear(name, scores[0], asked[name]):
            return None
        scores = warper(asked[name])(ids, scores)
    return torch.where(falls < LARGEST_FALL, scores, -torch.inf)[0]


DEFAULTS = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}


def make_case(parameters, random):
    def below(bound):
        return int(torch.randint(bound, (), generator=random))

    vocab = 40 + below(60)
    logits = torch.randn(vocab, generator=random, dtype=torch.float32) * (1.5 + below(3))
    prompt = [below(vocab) for _ in range(4 + below(12))]
    answer = [below(vocab // 3) for _ in range(6 + below(14))]
    asked = {**DEFAULTS, **parameters}
    asked = {name: f32(value) if isinstance(value, float) else value for name, value in asked.items()}
    biased = sorted({below(vocab) for _ in range(8)}) if asked.get("logit_bias") else []
    asked["logit_bias"] = [[token, f32(float(torch.randn((), generator=random)) * 3)] for token in biased]
    row = edited(logits, prompt, answer, asked)
    scores = kept(row, torch.tensor([prompt + answer]), asked)
    if scores is None:
        return None
    ids = torch.nonzero(scores > -torch.inf)[:, 0]
    log_probs = torch.log_softmax(logits.double(), 0)[:LOG_PROBS]
    return {**asked, "prompt": prompt, "answer": answer, "logits": hex_of(logits), "edited": hex_of(row),
            "kept": ids.tolist(), "probabilities": torch.softmax(scores, 0)[ids].tolist(),
            "log_probs": log_probs.tolist()}


def hex_of(values):
    """Little-endian float32."""
    return values.numpy().astype("<f4").tobytes().hex()


def main():
    versions = smollm2_tokenizer.require_versions(torch="2.13.0", transformers="5.23.0")
    random = torch.Generator().manual_seed(13)
    golden = []
    for parameters in [*cases(), *cases()]:
        case = None
        while case is None:
            case = make_case(parameters, random)
        golden.append(case)
        print(parameters, len(case["kept"]), "kept of", len(case["logits"]) // 8)
    with open(os.path.join(HERE, "logits_processors.json"), "w", encoding="ascii") as file:
        json.dump({"versions": versions, "cases": golden}, file)
        file.write("\n")


if __name__ == "__main__":
    main()
