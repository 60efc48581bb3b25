#!/usr/bin/env python3
"""Writes a GGUF file of random weights in the shape of Phi-4-mini, for measuring.

Linear layers are Q4_1 (or Q4_0), the table of the vocabulary is Q6_K and serves as the output matrix too, as
in files that llama.cpp's converter makes of the model: 2.5 GB. Phalanx and llama.cpp load it and
compute as long as with real weights; what they answer means nothing. The tokenizer has a token for
each byte and made-up words. Weights are drawn once, some MB of them, and repeated from random places
on, so that writing takes as long as the disk does. The same arguments give the same file.
"""

import argparse
import dataclasses
import pathlib
import random
import shutil
import struct
import sys

ALIGNMENT = 32
POOL_BLOCKS = 1 << 17
U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9  # Types of GGUF's metadata.
NORMAL, CONTROL = 1, 3  # Kinds of tokens.
# Number of the type, elements and bytes of a block: ggml.h.
TENSOR_TYPES = {"F32": (0, 1, 4), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q6_K": (14, 256, 210)}


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int
    ffn: int
    vocab: int
    context: int


SHAPES = {
    "phi4_mini": Shape("phi4-mini-shape", 32, 3072, 24, 8, 128, 96, 8192, 200064, 16384),
    # For tests.
    "tiny": Shape("tiny-phi-shape", 2, 256, 4, 2, 64, 48, 288, 1000, 512),
}


def byte_alphabet():
    """The character that stands for each byte in byte-level BPE, as GPT-2 has them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {b: chr(256 + i) for i, b in enumerate(rest)}


def vocabulary(size):
    """Spellings, kinds and merges. The last tokens are those that end and begin texts and turns."""
    alphabet = byte_alphabet()
    space = alphabet[ord(" ")]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    control = ["<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokens = [alphabet[byte] for byte in range(256)] + [space + letter for letter in letters]
    merges = [f"{space} {letter}" for letter in letters]
    number = 0
    while len(tokens) < size - len(control):
        word, rest = "", number
        for _ in range(5):
            word, rest = word + letters[rest % 26], rest // 26
        tokens.append(space + word)
        number += 1
    kinds = [NORMAL] * len(tokens) + [CONTROL] * len(control)
    return tokens + control, kinds, merges


def tensors(shape, matrix_type):
    """Name, type, columns and rows of each, in the order of the file."""
    queries = shape.heads * shape.head_dim
    qkv = queries + 2 * shape.kv_heads * shape.head_dim
    yield "token_embd.weight", "Q6_K", shape.hidden, shape.vocab
    yield "output_norm.weight", "F32", shape.hidden, 1
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight", "F32", shape.hidden, 1
        yield f"blk.{layer}.attn_qkv.weight", matrix_type, shape.hidden, qkv
        yield f"blk.{layer}.attn_output.weight", matrix_type, queries, shape.hidden
        yield f"blk.{layer}.ffn_norm.weight", "F32", shape.hidden, 1
        yield f"blk.{layer}.ffn_up.weight", matrix_type, shape.hidden, 2 * shape.ffn
        yield f"blk.{layer}.ffn_down.weight", matrix_type, shape.ffn, shape.hidden


def tensor_bytes(kind, cols, rows):
    _, elements, size = TENSOR_TYPES[kind]
    assert cols % elements == 0
    return cols // elements * size * rows


# --- The file's head ---


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind, values):
    if kind == STRING:
        body = b"".join(text(value) for value in values)
    else:
        body = struct.pack(f"<{len(values)}I", *values)
    return struct.pack("<IQ", kind, len(values)) + body


def metadata(shape):
    """Key, type and bytes of each value."""
    tokens, kinds, merges = vocabulary(shape.vocab)
    ids = {token: number for number, token in enumerate(tokens)}
    template = (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    u32 = lambda value: (U32, struct.pack("<I", value))
    f32 = lambda value: (F32, struct.pack("<f", value))
    string = lambda value: (STRING, text(value))
    values = {
        "general.architecture": string("phi3"),
        "general.name": string(shape.name),
        "phi3.context_length": u32(shape.context),
        "phi3.embedding_length": u32(shape.hidden),
        "phi3.feed_forward_length": u32(shape.ffn),
        "phi3.block_count": u32(shape.layers),
        "phi3.attention.head_count": u32(shape.heads),
        "phi3.attention.head_count_kv": u32(shape.kv_heads),
        "phi3.attention.layer_norm_rms_epsilon": f32(1e-5),
        "phi3.rope.dimension_count": u32(shape.rotary_dim),
        "phi3.rope.freq_base": f32(10000.0),
        "tokenizer.ggml.model": string("gpt2"),
        "tokenizer.ggml.pre": string("gpt-4o"),
        "tokenizer.ggml.tokens": (ARRAY, array(STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, array(U32 + 1, kinds)),
        "tokenizer.ggml.merges": (ARRAY, array(STRING, merges)),
        "tokenizer.ggml.bos_token_id": u32(ids["<|endoftext|>"]),
        "tokenizer.ggml.eos_token_id": u32(ids["<|endoftext|>"]),
        "tokenizer.ggml.eot_token_id": u32(ids["<|end|>"]),
        "tokenizer.ggml.add_bos_token": (BOOL, b"\0"),
        "tokenizer.chat_template": string(template),
    }
    return [(key, kind, data) for key, (kind, data) in values.items()]


def padded(size):
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def head(shape, matrix_type):
    entries = metadata(shape)
    listed = list(tensors(shape, matrix_type))
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(listed), len(entries))]
    for key, kind, data in entries:
        parts += [text(key), struct.pack("<I", kind), data]
    offset = 0
    for name, kind, cols, rows in listed:
        dimensions = (cols,) if kind == "F32" else (cols, rows)
        parts += [text(name), struct.pack("<I", len(dimensions))]
        parts.append(struct.pack(f"<{len(dimensions)}Q", *dimensions))
        parts.append(struct.pack("<IQ", TENSOR_TYPES[kind][0], offset))
        offset += padded(tensor_bytes(kind, cols, rows))
    data = b"".join(parts)
    return data + bytes(padded(len(data)) - len(data))


# --- Weights ---


def pool(kind, draw, blocks):
    """So many blocks of weights of either sign and about 0.02 in size."""
    half = lambda value: struct.pack("<e", value)
    if kind == "Q4_1":
        return b"".join(
            (lambda d: half(d) + half(-7.5 * d))(draw.uniform(0.002, 0.006)) + draw.randbytes(16)
            for _ in range(blocks)
        )
    if kind == "Q4_0":
        return b"".join(half(draw.uniform(0.002, 0.006)) + draw.randbytes(16) for _ in range(blocks))
    # Low and high bits, 16 signed scales, and the scale of these.
    return b"".join(
        draw.randbytes(192)
        + bytes(draw.randrange(4, 12) for _ in range(16))
        + half(draw.uniform(1.0e-4, 2.0e-4))
        for _ in range(blocks)
    )


def write_matrix(file, kind, size, draw, pools):
    """Runs of the pool's blocks, each from a random one on, until the matrix is full."""
    block = TENSOR_TYPES[kind][2]
    blocks = memoryview(pools[kind])
    while size > 0:
        begin = draw.randrange(len(blocks) // block // 2) * block
        run = blocks[begin : begin + min(size, len(blocks) - begin)]
        file.write(run)
        size -= len(run)


class Progress:
    """Percent on a line that is written over on a terminal; every tenth elsewhere."""

    def __init__(self, total):
        self._total = total
        self._done = 0
        self._shown = -1
        self._step = 1 if sys.stderr.isatty() else 10

    def add(self, size):
        self._done += size
        percent = 100 * self._done // self._total // self._step * self._step
        if percent == self._shown:
            return
        self._shown = percent
        line = f"writing {self._total / 1e9:.2f} GB: {percent} %"
        end = "\n" if self._step > 1 or percent == 100 else ""
        sys.stderr.write(("\r" if self._step == 1 else "") + line + end)
        sys.stderr.flush()


def write(path, shape, matrix_type, pool_blocks):
    draw = random.Random(1)
    listed = list(tensors(shape, matrix_type))
    pools = {
        kind: pool(kind, draw, pool_blocks // (1 if kind != "Q6_K" else 8))
        for kind in (matrix_type, "Q6_K")
    }
    progress = Progress(sum(tensor_bytes(kind, cols, rows) for _, kind, cols, rows in listed))
    # Under another name until it is whole.
    new = path.with_suffix(".new")
    with open(new, "wb") as file:
        file.write(head(shape, matrix_type))
        for _, kind, cols, rows in listed:
            size = tensor_bytes(kind, cols, rows)
            if kind == "F32":
                file.write(struct.pack(f"<{cols}f", *[1.0] * cols))
            else:
                write_matrix(file, kind, size, draw, pools)
            file.write(bytes(padded(size) - size))
            progress.add(size)
    new.rename(path)


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="tests/peers/make_phi_shape.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=pathlib.Path, help="where the file goes; must be there")
    parser.add_argument("--type", choices=("Q4_1", "Q4_0"), default="Q4_1", help="of the linear layers")
    parser.add_argument("--shape", choices=SHAPES, default="phi4_mini", help="tiny is for tests")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"there is no folder {options.folder}")
    shape = SHAPES[options.shape]
    path = options.folder / f"{shape.name}-{options.type}.gguf"
    needed = sum(tensor_bytes(kind, cols, rows) for _, kind, cols, rows in tensors(shape, options.type))
    free = shutil.disk_usage(options.folder).free
    if free < needed * 1.05:
        parser.error(f"{options.folder} has {free / 1e9:.1f} GB left, and {needed / 1e9:.1f} GB are needed")
    write(path, shape, options.type, POOL_BLOCKS if options.shape != "tiny" else 64)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
