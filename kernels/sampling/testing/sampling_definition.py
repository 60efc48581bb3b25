"""docs/sampling.md in Python: what token a row of logits gives. Written from that page alone, so that
two programs agree on what it says. Python's floats are IEEE 754 binary64, and its operations round
each by itself."""

import math
import struct

NO_TOKEN = -1


def f32(value):
    """The nearest binary32 number."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def adjust(logits, edits, mask, row):
    """Section 1: logits after edits and mask. A product or sum of two binary32 numbers, taken in
    binary64 and rounded once more, is the binary32 result; so is a quotient."""
    logits = list(logits)
    for token, count, bias, seen in edits:
        logit = f32(logits[token] + bias)
        if seen:
            penalty = row["repetition_penalty"]
            logit = f32(logit / penalty if logit > 0 else logit * penalty)
        if count > 0:
            logit = f32(logit - row["presence_penalty"])
            logit = f32(logit - f32(row["frequency_penalty"] * count))
        logits[token] = logit
    for token in range(len(logits) if mask else 0):
        if not mask[token // 32] >> token % 32 & 1:
            logits[token] = -math.inf
    return logits


LOG2_E = 1.4426950408889634
LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")


def exp_weight(x):
    """Section 2: floor(2^44 exp(x)) for x <= 0, by its own polynomial."""
    if not x > -30.6:
        return 0
    n = int(x * LOG2_E - 0.5)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    r2 = r * r
    even = (((r2 * (1.0 / 40320) + 1.0 / 720) * r2 + 1.0 / 24) * r2 + 0.5) * r2 + 1.0
    odd = (((r2 * (1.0 / 362880) + 1.0 / 5040) * r2 + 1.0 / 120) * r2 + 1.0 / 6) * r2 + 1.0
    return int((even + r * odd) * 2.0 ** (44 + n))


def keep_first(order, weights, need):
    """The weights of the first tokens in order that sum to `need` or more, and of at least one."""
    kept = [0] * len(weights)
    total = 0
    for token in order:
        kept[token] = weights[token]
        total += weights[token]
        if total >= need:
            break
    return kept


def need_of(part, total):
    return max(1, math.ceil(part * float(total)))


def philox(counter, key):
    """Philox4x32-10, https://doi.org/10.1145/2063384.2063405."""
    word = 0xFFFFFFFF
    for _ in range(10):
        product0 = 0xD2511F53 * counter[0]
        product1 = 0xCD9E8D57 * counter[2]
        counter = (product1 >> 32 ^ counter[1] ^ key[0], product1 & word,
                   product0 >> 32 ^ counter[3] ^ key[1], product0 & word)
        key = (key[0] + 0x9E3779B9 & word, key[1] + 0xBB67AE85 & word)
    return counter


def sample(logits, row):
    """Sections 2 and 3."""
    highest = max(logits)
    if any(math.isnan(logit) for logit in logits) or math.isinf(highest):
        return NO_TOKEN
    if row["forced"] >= 0:
        return row["forced"]
    # Python's sort is stable, so equal logits stay in the order of their ids.
    ranked = sorted(range(len(logits)), key=lambda token: -logits[token])
    if not row["temperature"] > 0:
        return ranked[0]
    inverse = 1.0 / row["temperature"]
    falls = [-((logit - highest) * inverse) for logit in logits]
    weights = [1 << 44 if logit == highest else exp_weight(-fall)
               for logit, fall in zip(logits, falls)]
    if 0 < row["top_k"] < len(logits):
        for token in ranked[row["top_k"]:]:
            weights[token] = 0
    if row["top_p"] < 1:
        weights = keep_first(ranked, weights, need_of(row["top_p"], sum(weights)))
    least = math.ceil(row["min_p"] * 2.0 ** 44)
    weights = [weight if weight >= least else 0 for weight in weights]
    if row["typical_p"] < 1:
        total = sum(weights)
        falling = sum(int(float(weight) * fall) for weight, fall in zip(weights, falls) if weight)
        mean = float(falling) / float(total)
        typical = sorted((token for token in range(len(logits)) if weights[token]),
                         key=lambda token: f32(abs(falls[token] - mean)))
        weights = keep_first(typical, weights, need_of(row["typical_p"], total))
    seed = row["seed"]
    words = philox((row["position"], 0, 0, 0), (seed & 0xFFFFFFFF, seed >> 32))
    target = (words[0] | words[1] << 32) * sum(weights) >> 64
    for token, weight in enumerate(weights):
        if weight > target:
            return token
        target -= weight
    raise AssertionError("no token")
