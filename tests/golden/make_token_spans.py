"""Writes tokenizer_lines/*.spans.gz: where Hugging Face tokenizers finds tokens in lines. See README.md.

Usage: python make_token_spans.py CACHE

CACHE is the folder that tools/install fills, ~/.cache/phalanx.
"""

import os
import sys

import tokenizers

import make_tokenizer_lines
import smollm2_tokenizer
import tokenizer_corpus

EVERY = 16


def letters_of_bytes():
    """The letters that stand for bytes in byte-level vocabularies, as GPT-2 chose them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    letters.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return letters


LETTERS = letters_of_bytes()


def token_bytes(tokenizer, added, token_id):
    if token_id in added:
        return added[token_id].content.encode()
    return bytes(LETTERS[letter] for letter in tokenizer.id_to_token(token_id))


def spans(tokenizer, added, line):
    """For each token, BEGIN-END in bytes, or "x" where characters do not tell it: the token is a part of one, or
    the text was normalized."""
    starts = [0]
    for letter in line:
        starts.append(starts[-1] + len(letter.encode()))
    encoding = tokenizer.encode(line, add_special_tokens=False)
    for token_id, (begin, end) in zip(encoding.ids, encoding.offsets):
        exact = line[begin:end].encode() == token_bytes(tokenizer, added, token_id)
        yield f"{starts[begin]}-{starts[end]}" if exact else "x"


def main():
    print(smollm2_tokenizer.require_versions(tokenizers="0.23.3", gguf="0.19.0"))
    lines = list(tokenizer_corpus.lines())[::EVERY]
    for name, tokenizer in make_tokenizer_lines.load_tokenizers(os.path.expanduser(sys.argv[1])).items():
        tokenizer.encode_special_tokens = True
        # Some trim spaces off the offsets.
        tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
        added = tokenizer.get_added_tokens_decoder()
        golden = [list(spans(tokenizer, added, line)) for line in lines]
        make_tokenizer_lines.write_lines(name + ".spans.gz", map(" ".join, golden))
        count = sum(len(line) for line in golden)
        print(name, count, "tokens,", sum(line.count("x") for line in golden), "not told", flush=True)


if __name__ == "__main__":
    main()
