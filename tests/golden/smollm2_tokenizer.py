"""The tokenizer of SmolLM2, built from the vocabulary and merges inside the GGUF file.

transformers has a converter of its own for GGUF tokenizers; this module spells out the published
tokenizer.json instead (Digits, then ByteLevel, no normalizer, no unknown token), so that the golden
data does not depend on what the converter chooses.
"""

import hashlib

import gguf
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

CONTROL = 3  # tokenizer.ggml.token_type


def read_fields(path):
    reader = gguf.GGUFReader(path)
    return {key: field.contents() for key, field in reader.fields.items()}


def build(fields, with_control_tokens):
    """A tokenizers.Tokenizer; without control tokens, "<|im_end|>" is text like any other."""
    tokens = fields["tokenizer.ggml.tokens"]
    kinds = fields["tokenizer.ggml.token_type"]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    if with_control_tokens:
        tokenizer.add_special_tokens(
            [tokens[i] for i, kind in enumerate(kinds) if kind == CONTROL])
    return tokenizer


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def require_versions(**wanted):
    """Refuses to write golden data with other versions than those it was reviewed with."""
    import importlib.metadata
    for name, version in wanted.items():
        found = importlib.metadata.version(name).split("+")[0]
        if found != version:
            raise SystemExit(f"{name} {version} wanted, {found} found")
        print(name, found)
    return wanted
