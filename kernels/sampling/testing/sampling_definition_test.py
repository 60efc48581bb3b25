"""The tokens of AdjustRow and SampleToken are those of sampling_definition.py.

    sampling_definition_test.py WRITE_SAMPLE_CASES [COUNT]
"""

import json
import struct
import subprocess
import sys

from sampling_definition import adjust, sample

FLOATS = ("temperature", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
          "frequency_penalty")


def from_bits(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def main():
    count = sys.argv[2] if len(sys.argv) > 2 else "100000"
    process = subprocess.Popen([sys.argv[1], count, "20261129"], stdout=subprocess.PIPE, text=True)
    cases = without_token = 0
    for line in process.stdout:
        case = json.loads(line)
        for name in FLOATS:
            case[name] = from_bits(case[name])
        logits = [from_bits(bits) for bits in case["logits"]]
        edits = [(token, uses, from_bits(bias), seen) for token, uses, bias, seen in case["edits"]]
        token = sample(adjust(logits, edits, case["mask"], case), case)
        if token != case["token"]:
            sys.exit(f"case {cases}: {token} instead of {case['token']}\n{line}")
        cases += 1
        without_token += token < 0
    if process.wait() != 0 or cases != int(count):
        sys.exit(f"{cases} cases came instead of {count}")
    # Rows of all kinds must have come.
    assert cases // 1000 < without_token < cases // 5, without_token
    print(f"{cases} cases agree, {without_token} of them without a token")


main()
