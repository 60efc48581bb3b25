"""Writes gguf_types.json: blocks of every GGUF type and their values. See README.md.

Usage: python make_gguf_types.py
"""

import json
import os

import gguf
import numpy as np

import smollm2_tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))

# Where the half-precision numbers of a block lie.
HALVES = {
    "F32": [], "F16": [], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0],
}
# One, the largest, the smallest normal, subnormals, zeros, and some between, of either sign.
SPECIAL_HALVES = [0x3c00, 0x7bff, 0xfbff, 0x0400, 0x03ff, 0x8001, 0x0000, 0x8000, 0xb555, 0x2e66, 0x9421]
BYTES_PER_TYPE = 1200


def make_blocks(name, random):
    block_elements, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = max(len(SPECIAL_HALVES) // 2, BYTES_PER_TYPE // block_bytes // (4 if block_elements < 256 else 1))
    blocks = random.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    blocks[0], blocks[1] = 0, 255
    for i, block in enumerate(blocks):
        for n, at in enumerate(HALVES[name]):
            half = SPECIAL_HALVES[(i * (n + 1) + n) % len(SPECIAL_HALVES)]
            block[at:at + 2] = [half & 255, half >> 8]
    return blocks


def make_floats(name, random):
    """Any finite number, by its bits; 16-bit ones as such."""
    if name == "F32":
        bits = random.integers(0, 2**32, 64, dtype=np.uint32)
        bits = bits[np.isfinite(bits.view(np.float32))]
    else:
        kind = {"F16": (0x7c00, np.uint16), "BF16": (0x7f80, np.uint16)}[name]
        bits = random.integers(0, 2**16, 256, dtype=kind[1])
        bits = bits[(bits & kind[0]) != kind[0]]
    return bits.view(np.uint8).reshape(1, -1)


def main():
    versions = smollm2_tokenizer.require_versions(gguf="0.19.0", numpy="2.4.6")
    types = {}
    for name in HALVES:
        random = np.random.default_rng(list(name.encode()))
        blocks = (make_floats if name in ("F32", "F16", "BF16") else make_blocks)(name, random)
        values = gguf.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype("<f4")
        assert np.isfinite(values).all(), name
        types[name] = {"blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}
        print(name, blocks.shape, values.size)
    with open(os.path.join(HERE, "gguf_types.json"), "w", encoding="ascii") as file:
        json.dump({"versions": versions, "types": types}, file, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
