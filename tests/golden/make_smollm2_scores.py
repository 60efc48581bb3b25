"""Writes smollm2_scores.json: how likely transformers finds a text, in float32. See README.md.

Usage: python make_smollm2_scores.py PATH_OF_SmolLM2-135M-Instruct.Q4_1.gguf
"""

import json
import math
import os
import sys

import torch
import transformers

import smollm2_tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
WINDOW = 1024
STRIDE = 512
# Of this many tokens of the first window the log-probabilities themselves are kept.
KEPT = 64


def windows(num_tokens):
    """(begin, first scored, end) of overlapping windows that score each token but the first once."""
    scored = 1
    for begin in range(0, num_tokens, STRIDE):
        end = min(begin + WINDOW, num_tokens)
        yield begin, scored, end
        scored = end
        if end == num_tokens:
            return


@torch.no_grad()
def main():
    path = os.path.abspath(sys.argv[1])
    versions = smollm2_tokenizer.require_versions(
        torch="2.13.0", transformers="5.23.0", tokenizers="0.23.3", gguf="0.19.0")
    tokenizer = smollm2_tokenizer.build(smollm2_tokenizer.read_fields(path), with_control_tokens=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32).eval()
    with open(os.path.join(HERE, "coriolanus.txt"), encoding="utf-8") as file:
        ids = tokenizer.encode(file.read()).ids

    total, first = 0.0, None
    for begin, scored, end in windows(len(ids)):
        logits = model(torch.tensor([ids[begin:end]])).logits[0].double()
        log_probs = torch.log_softmax(logits[:-1], dim=-1)
        taken = log_probs.gather(1, torch.tensor(ids[begin + 1:end])[:, None])[:, 0]
        first = taken[:KEPT].tolist() if first is None else first
        total += float(taken[scored - begin - 1:].sum())
        print(begin, scored, end, flush=True)
    golden = {"versions": versions, "model_sha256": smollm2_tokenizer.sha256(path),
              "window": WINDOW, "stride": STRIDE, "num_tokens": len(ids),
              "perplexity": math.exp(-total / (len(ids) - 1)), "first_log_probs": first}
    print(golden["num_tokens"], golden["perplexity"])
    with open(os.path.join(HERE, "smollm2_scores.json"), "w", encoding="utf-8") as file:
        json.dump(golden, file)
        file.write("\n")


if __name__ == "__main__":
    main()
