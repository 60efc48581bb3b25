"""Lists what each kernel takes of a multiprocessor, from nvcc's reports, and fails for spills.

Usage: kernel_resources.py REPORT...

A spill is a register that the compiler had to put into memory. Kernels of a decode step must have
none: they run tens of times for every token.
"""

import re
import subprocess
import sys

# Kernels that no step of a decode runs may spill.
MAY_SPILL = re.compile(r"^(Gated)?ManyRowsKernel<|^PromptAttentionKernel<")

# As in kernels/cuda/weight_layout.h.
WEIGHT_FORMATS = ("f32", "f16", "bf16", "codes4", "levels8")

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def read_report(path):
    """Yields (mangled name, architecture, registers, shared bytes, stack bytes, spilled bytes)."""
    name = architecture = None
    stack = spilled = 0
    with open(path, encoding="utf-8") as report:
        for line in report:
            if match := ENTRY.search(line):
                name, architecture = match.groups()
                stack = spilled = 0
            elif match := SPILLS.search(line):
                stack, spilled = int(match[1]), int(match[2]) + int(match[3])
            elif (match := USED.search(line)) and name:
                shared = SHARED.search(line)
                yield name, architecture, int(match[1]), int(shared[1]) if shared else 0, stack, spilled
                name = None


def short_names(mangled):
    """As they are in the sources, with their template arguments."""
    names = subprocess.run(
        ["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    cleaned = []
    for name in names:
        name = re.sub(r"phalanx::kernels::(cuda::)?|phalanx::|\(anonymous namespace\)::", "", name)
        # Without the parameters, but with template arguments, in which parentheses are casts.
        match = re.match(r"(?:void )?(\w+(?:<.*?>)?)\((?!\w+\)\d)", name)
        name = match[1] if match else name
        name = re.sub(r"\(WeightFormat\)(\d+)", lambda format: WEIGHT_FORMATS[int(format[1])], name)
        cleaned.append(re.sub(r"\((\w+)\)(\d+)", r"\2", name))
    return cleaned


def main(paths):
    rows = [row for path in paths for row in read_report(path)]
    if not rows:
        print("the reports name no kernel", file=sys.stderr)
        return 1
    names = short_names([row[0] for row in rows])
    print(f"{'kernel':<72} {'for':<8} registers  shared  stack  spilled")
    failed = []
    for name, row in sorted(zip(names, rows), key=lambda pair: (pair[0], pair[1][1])):
        _, architecture, registers, shared, stack, spilled = row
        print(f"{name:<72} {architecture:<8} {registers:9} {shared:7} {stack:6} {spilled:8}")
        if spilled and not MAY_SPILL.match(name):
            failed.append(f"{name} for {architecture} spills {spilled} bytes")
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
