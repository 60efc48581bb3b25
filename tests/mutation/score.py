"""Mutates sources, runs the tests that can notice, and prints the score. See run.sh."""

import argparse
import collections
import concurrent.futures
import contextlib
import io
import json
import os
import sys
import time

import mutants as mutation
from tree import Tree, Verdict

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("PHALANX_CACHE", os.path.expanduser("~/.cache/phalanx"))
RULES = ["universal.rules", "c_like.rules", "cpp.rules", os.path.join(HERE, "cpp.rules")]

FOLDERS = [
    "worker/engine",
    "worker/group",
    "coordinator/admission",
    "coordinator/routing",
    "coordinator/server",
    "model/sharding",
    "kernels/sampling",
]

# Tests in other folders that are there for a folder's sources too.
TESTS_ELSEWHERE = {
    "model/sharding": [
        "//worker/weights:cpu_memory_test",
        "//worker/model:gpu_memory_test",
        "//worker:memory_plan_test",
    ],
}

# More in one test is an endless loop: the slowest takes five seconds.
TEST_SECONDS = 30


def generate(file):
    """All plausible mutants of a file."""
    from universalmutator import mutator  # From the environment that run.sh makes.

    with open(os.path.join(ROOT, file), encoding="utf-8") as source_file:
        source = source_file.read().split("\n")
    with contextlib.redirect_stdout(io.StringIO()):
        raw = mutator.mutants_regexp(
            [line + "\n" for line in source], ruleFiles=RULES, ignorePatterns=[]
        )
    return mutation.sift(file, source, [(entry[0], entry[1]) for entry in raw])


def group_arguments(arguments):
    """Folder to the files of it that were asked for; none are all."""
    groups = collections.OrderedDict()
    for argument in arguments:
        path = os.path.relpath(os.path.join(ROOT, argument.rstrip("/")), ROOT)
        if os.path.isdir(os.path.join(ROOT, path)):
            groups[path] = []
        elif os.path.isfile(os.path.join(ROOT, path)):
            groups.setdefault(os.path.dirname(path), []).append(path)
        else:
            sys.exit(f"run.sh: no folder or file {argument}")
    return groups


def production_files(tree, folder):
    """The sources and headers of libraries that are not for tests only."""
    rules = f'(kind("cc_library", //{folder}:*) except attr(testonly, 1, //{folder}:*))'
    labels = tree.query(f"labels(srcs, {rules}) union labels(hdrs, {rules})")
    prefix = f"//{folder}:"
    return [
        f"{folder}/{label[len(prefix):]}" for label in labels
        if label.startswith(prefix) and label.endswith((".cc", ".h"))
    ]


def test_stages(tree, file):
    """The tests that reach `file`: that of its own name first, then the others."""
    folder, name = os.path.split(file)
    universe = [f"//{folder}:*"] + TESTS_ELSEWHERE.get(folder, [])
    tests = tree.query(f'kind("cc_test", rdeps({" + ".join(universe)}, //{folder}:{name}))')
    near = f"//{folder}:{os.path.splitext(name)[0]}_test"
    stages = [[test for test in tests if test == near], [test for test in tests if test != near]]
    return [stage for stage in stages if stage]


class Run:
    """The mutants of one folder and what became of them."""

    def __init__(self, folder, chosen, stages):
        self.folder, self.chosen, self.stages = folder, chosen, stages
        self.verdicts = {}

    def counts(self):
        counted = collections.Counter(self.verdicts.values())
        return {verdict: counted[verdict] for verdict in VERDICTS}


SAME_PROGRAM = "same program"
VERDICTS = [verdict.value for verdict in Verdict] + [SAME_PROGRAM]


def read_same_programs(path):
    """Keys of mutants that are known to be the same program; see the file's head."""
    keys = set()
    name = before = None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("@ "):
                name = line[2:].strip()
            elif line.startswith("- "):
                before = line[2:].strip()
            elif line.startswith("+ "):
                keys.add((name, before, line[2:].strip()))
    return keys


def judge_all(trees, run, on_verdict):
    """Gives each tree a share of the mutants that have no verdict yet, file by file."""
    left = [mutant for mutant in run.chosen if mutant not in run.verdicts]
    if not left:
        return
    targets = sorted({test for stages in run.stages.values() for stage in stages for test in stage})

    def work(tree, share):
        if not share:
            return
        tree.build_unchanged(targets)
        for mutant in share:
            stages = run.stages[mutant.file]
            verdict = tree.judge(mutant, stages) if stages else Verdict.SURVIVED
            on_verdict(mutant, verdict.value)

    size = -(-len(left) // len(trees))
    with concurrent.futures.ThreadPoolExecutor(len(trees)) as pool:
        shares = [left[i * size : (i + 1) * size] for i in range(len(trees))]
        for done in [pool.submit(work, tree, share) for tree, share in zip(trees, shares)]:
            done.result()


def print_report(runs, seed, sample):
    print(f"\nseed {seed}, {sample} mutants for each folder\n")
    print(f"{'folder':<24}" + "".join(f"{verdict:>15}" for verdict in VERDICTS) + f"{'score':>8}")
    for run in runs:
        counts = run.counts()
        killed, survived = counts["killed"], counts["survived"]
        score = f"{100 * killed / (killed + survived):.0f} %" if killed + survived else "-"
        cells = "".join(f"{counts[verdict]:>15}" for verdict in VERDICTS)
        print(f"{run.folder:<24}{cells}{score:>8}")
    for run in runs:
        for mutant in run.chosen:
            if run.verdicts.get(mutant) == Verdict.SURVIVED.value:
                print(f"\n{mutant.file}:{mutant.line} survived")
                print(f"- {mutant.before.strip()}\n+ {mutant.after.strip()}")


def main():
    parser = argparse.ArgumentParser(prog="tests/mutation/run.sh")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", default="50")
    parser.add_argument("--trees", type=int, default=1)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("paths", nargs="*", default=FOLDERS, metavar="FOLDER or FILE")
    options = parser.parse_args()
    sample = None if options.sample == "all" else int(options.sample)
    os.nice(10)

    work = os.path.join(CACHE, "mutation")
    trees = [Tree(ROOT, os.path.join(work, f"tree{i}"), TEST_SECONDS) for i in range(options.trees)]
    same_programs = read_same_programs(os.path.join(HERE, "same_program.txt"))
    runs = []
    for folder, files in group_arguments(options.paths).items():
        files = files or production_files(trees[0], folder)
        found = [mutant for file in files for mutant in generate(file)]
        chosen = mutation.draw(found, options.seed, sample)
        if options.list:
            for mutant in chosen:
                print(f"{mutant.file}:{mutant.line}\n- {mutant.before}\n+ {mutant.after}")
            continue
        stages = {file: test_stages(trees[0], file) for file in {m.file for m in chosen}}
        run = Run(folder, chosen, stages)
        runs.append(run)
        for mutant in chosen:
            if mutant.key() in same_programs:
                run.verdicts[mutant] = SAME_PROGRAM
        record = os.path.join(work, folder.replace("/", "_") + f".{options.seed}.json")
        if options.again:
            with open(record, encoding="utf-8") as saved:
                verdicts = [(tuple(key), verdict) for key, verdict in json.load(saved)]
            # Lines that read the same have one key: if one of them survived, all are tried.
            known = dict(sorted(verdicts, key=lambda v: v[1] == Verdict.SURVIVED.value))
            for mutant in chosen:
                verdict = known.get(mutant.key())
                if verdict not in (None, Verdict.SURVIVED.value, SAME_PROGRAM):
                    run.verdicts.setdefault(mutant, verdict)

        begin = time.monotonic()

        def on_verdict(mutant, verdict):
            run.verdicts[mutant] = verdict
            with open(record, "w", encoding="utf-8") as saved:
                json.dump([(m.key(), v) for m, v in list(run.verdicts.items())], saved)
            print(
                f"{folder}: {len(run.verdicts)} of {len(chosen)}, "
                f"{time.monotonic() - begin:.0f} s: {mutant.file}:{mutant.line} {verdict}",
                file=sys.stderr, flush=True,
            )

        judge_all(trees, run, on_verdict)
    if runs:
        print_report(runs, options.seed, options.sample)


if __name__ == "__main__":
    main()
