"""Writes tokenizer_lines/: what Hugging Face tokenizers makes of many lines. See README.md.

Usage: python make_tokenizer_lines.py CACHE

CACHE is the folder that tools/install fills, ~/.cache/phalanx.
"""

import gzip
import json
import os
import sys

import tokenizers

import smollm2_tokenizer
import tokenizer_corpus
import tokenizer_variants

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "tokenizer_lines")
DECODE_BLOCK = 256


def load_tokenizers(cache):
    def text(name):
        with open(os.path.join(cache, "tokenizers", name, "tokenizer.json"), encoding="utf-8") as file:
            return file.read()

    o200k, llama3, qwen = text("gpt4o"), text("llama3_1"), text("qwen3")
    fields = smollm2_tokenizer.read_fields(os.path.join(cache, "models", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    return {
        "phi4_mini": tokenizers.Tokenizer.from_str(tokenizer_variants.variant("phi4", o200k)),
        "llama3_1": tokenizers.Tokenizer.from_str(llama3),
        "qwen3": tokenizers.Tokenizer.from_str(qwen),
        "qwen3_rules": tokenizers.Tokenizer.from_str(tokenizer_variants.variant("rules", qwen)),
        "smollm2": smollm2_tokenizer.build(fields, with_control_tokens=True),
    }


def encode(tokenizer, lines, plain):
    """Token ids; with `plain`, the spelling of a control token is text like any other."""
    tokenizer.encode_special_tokens = plain
    return [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]


def fold(numbers, digest=14695981039346656037):
    """FNV-1a, of 32-bit words in place of bytes."""
    for number in numbers:
        digest = (digest ^ number) * 1099511628211 % 2**64
    return digest


def describe_ids(ids):
    return f"{len(ids)} {fold(ids):016x}"


def text_of(tokenizer, added, token_id):
    # An added token is its spelling. The byte-level decoder takes letters of that for the bytes that they stand
    # for in the vocabulary, so that the "\u00f6" of a made-up token would be an ill-formed f6.
    if token_id in added:
        return added[token_id].content
    return tokenizer.decode([token_id], skip_special_tokens=False)


def describe_tokens(tokenizer):
    """For each block of ids, a hash of the text of each alone, and one of the tokens of those texts."""
    size = max(tokenizer.get_vocab().values()) + 1
    added = tokenizer.get_added_tokens_decoder()
    for begin in range(0, size, DECODE_BLOCK):
        ids = range(begin, min(begin + DECODE_BLOCK, size))
        texts = [text_of(tokenizer, added, i) for i in ids]
        text_hash = fold(b for text in texts for b in (*text.encode(), 256))
        tokens_hash = fold(t for ids in encode(tokenizer, texts, plain=True) for t in (*ids, 2**32 - 1))
        yield f"{text_hash:016x} {tokens_hash:016x}"


def write_lines(name, lines):
    with open(os.path.join(FOLDER, name), "wb") as file:
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=9, mtime=0) as packed:
            packed.write("".join(line + "\n" for line in lines).encode("ascii"))


def golden_lines(tokenizer, lines):
    """`ids` or, where control tokens make a difference, `ids|ids with control tokens`."""
    for plain, parsed in zip(encode(tokenizer, lines, plain=True), encode(tokenizer, lines, plain=False)):
        line = " ".join(map(str, plain))
        yield line if parsed == plain else line + "|" + " ".join(map(str, parsed))


def main():
    print(smollm2_tokenizer.require_versions(tokenizers="0.23.3", gguf="0.19.0"))
    os.makedirs(FOLDER, exist_ok=True)
    lines = tokenizer_corpus.lines()
    print(len(lines), "lines,", sum(len(line.encode()) for line in lines), "bytes")
    write_lines("lines.jsonl.gz", map(json.dumps, lines))
    by_rule = list(tokenizer_corpus.by_rule())
    for name, tokenizer in load_tokenizers(os.path.expanduser(sys.argv[1])).items():
        write_lines(name + ".ids.gz", golden_lines(tokenizer, lines))
        write_lines(name + ".rule_lines.gz", map(describe_ids, encode(tokenizer, by_rule, plain=True)))
        write_lines(name + ".tokens.gz", describe_tokens(tokenizer))
        print(name, "done", flush=True)


if __name__ == "__main__":
    main()
