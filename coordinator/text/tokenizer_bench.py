#!/usr/bin/env python3
"""Speed of our tokenizer next to Hugging Face tokenizers and tiktoken, on one thread and the same texts.

Usage: coordinator/text/tokenizer_bench.py [ROUNDS]

Wants `pip install tokenizers==0.23.3 tiktoken==0.14.0`, and `tools/install test`. The three take turns
in each of the rounds (11 without ROUNDS); what is printed is the median, of processor time. tiktoken knows o200k alone,
and its ranks come from that vocabulary: nothing is downloaded. "without offsets" is encode_batch_fast.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tiktoken  # noqa: E402
import tokenizers  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("PHALANX_CACHE", os.path.expanduser("~/.cache/phalanx"))
sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))

from tokenizer_samples import CODE, MATHS, SENTENCES  # noqa: E402

TEXT_BYTES = 1 << 12
TARGET = "//coordinator/text:tokenizer_bench"


def tracked_files(*patterns):
    names = subprocess.check_output(["git", "ls-files", *patterns], cwd=ROOT, text=True).split()
    for name in names:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            yield file.read()


def mixed_texts():
    """English, program code, documents, then sentences of many languages: about 1 MB, 4 KB each."""
    whole = "".join(tracked_files("tests/golden/coriolanus.txt", "*.md", "worker/*.cc", "coordinator/*.cc", "*.py"))
    texts = [whole[at:at + TEXT_BYTES] for at in range(0, len(whole), TEXT_BYTES)]
    rng = random.Random(1)
    samples = SENTENCES + CODE + MATHS
    for _ in range(50):
        text = ""
        while len(text.encode()) < TEXT_BYTES:
            words = rng.choice(samples).split(" ")
            begin = rng.randrange(len(words))
            text += " ".join(words[begin:begin + 8]) + rng.choice([" ", "\n"])
        texts.append(text)
    return texts


class Ours:
    def __init__(self, binary, tokenizer, texts):
        self.process = subprocess.Popen([binary, tokenizer, texts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        print(file=self.process.stdin, flush=True)
        encoding, tokens, decoding = self.process.stdout.readline().split()
        return float(encoding), int(tokens), float(decoding)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def byte_alphabet():
    """Character of the vocabulary's spelling to byte: GPT-2's bytes_to_unicode, turned round."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


def make_tiktoken(tokenizer_json):
    with open(tokenizer_json, encoding="utf-8") as file:
        tokenizer = json.load(file)
    alphabet = byte_alphabet()
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ranks = {bytes(alphabet[c] for c in token): token_id
             for token, token_id in tokenizer["model"]["vocab"].items() if token not in added}
    pattern = tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    return tiktoken.Encoding("o200k", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def seconds(encode, texts):
    begin = time.process_time()
    for text in texts:
        encode(text)
    return time.process_time() - begin


def compare(binary, name, texts, texts_path, rounds):
    path = os.path.join(CACHE, "tokenizers", name, "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(path)
    others = {"tokenizers": lambda text: theirs.encode(text, add_special_tokens=False),
              "without offsets": lambda text: theirs.encode_batch_fast([text], add_special_tokens=False)}
    if name == "gpt4o":
        others["tiktoken"] = make_tiktoken(path).encode_ordinary
    ours = Ours(binary, path, texts_path)
    times = {"phalanx": [], "decoding": [], **{other: [] for other in others}}
    for _ in range(rounds):
        encoding, tokens, decoding = ours.run()
        times["phalanx"].append(encoding)
        times["decoding"].append(decoding)
        for other, encode in others.items():
            times[other].append(seconds(encode, texts))
    ours.close()
    size = sum(len(text.encode()) for text in texts)
    median = {key: statistics.median(values) for key, values in times.items()}
    for key in ("phalanx", *others):
        print(f"{name:10} {key:15} {size / median[key] / 1e6:7.2f} MB/s   phalanx is {median[key] / median['phalanx']:5.2f} x")
    print(f"{name:10} detokenizer     {median['decoding'] / tokens * 1e9:.1f} ns per token, of {tokens}")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    subprocess.check_call(["bazel", "build", TARGET], cwd=ROOT)
    folder = subprocess.check_output(["bazel", "info", "bazel-bin"], cwd=ROOT, text=True, stderr=subprocess.DEVNULL).strip()
    binary = os.path.join(folder, TARGET[2:].replace(":", "/"))
    print("tokenizers", tokenizers.__version__, "tiktoken", tiktoken.__version__)
    texts = mixed_texts()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        for name in ("gpt4o", "llama3_1", "qwen3"):
            compare(binary, name, texts, file.name, rounds)


if __name__ == "__main__":
    main()
