"""A copy of the working tree with its own Bazel server, in which files are changed and tested."""

import enum
import glob
import hashlib
import os
import shutil
import subprocess

# Bazel's exit codes.
BUILD_FAILED = 1
TESTS_FAILED = 3

# More than any test of a mutated folder needs.
MEMORY_BYTES = 8 << 30


class Verdict(enum.Enum):
    KILLED = "killed"
    SURVIVED = "survived"
    NOT_COMPILING = "not compiling"
    SAME_CODE = "same code"


class Tree:
    """Copies `root` to `folder`, or brings the copy that is there up to date.

    Bazel's outputs stay with the folder, so that the next run builds little. The user's tree, its
    Bazel server and the shared disk cache are left alone by everything that is built of mutants.
    """

    def __init__(self, root, folder, test_seconds):
        self.root, self.folder, self.test_seconds = root, folder, test_seconds
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root, check=True, capture_output=True,
        ).stdout.decode()
        files = {file for file in listing.split("\0") if os.path.isfile(os.path.join(root, file))}
        for directory, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.relpath(path, folder) not in files:
                    os.remove(path)
        for file in files:
            target = os.path.join(folder, file)
            if not os.path.islink(target) and os.path.exists(target):
                if read(os.path.join(root, file)) == read(target):
                    continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(os.path.join(root, file), target)
        self._bin = None
        self.errors = ""

    def bazel(self, command, *arguments):
        """Exit code and standard output."""
        result = subprocess.run(
            ["bazel", "--max_idle_secs=900", command, *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        )
        self.errors = result.stderr.decode(errors="replace")
        return result.returncode, result.stdout.decode(errors="replace")

    def query(self, expression):
        code, output = self.bazel("query", "--noimplicit_deps", expression)
        if code != 0:
            raise RuntimeError(f"bazel query {expression}: {self.errors}")
        return sorted(output.split())

    def test(self, targets, share_cache=False):
        """Exit code of `bazel test`. With `share_cache` what it builds goes to the disk cache."""
        cache = [] if share_cache else ["--disk_cache="]
        return self.bazel(
            "test", *cache, "--notest_keep_going", "--nokeep_going", "--build_tests_only",
            # A mutant may signal any process and write anywhere: it sees its sandbox only.
            "--strategy=TestRunner=linux-sandbox", "--test_env=GTEST_FAIL_FAST=1",
            f"--test_timeout={self.test_seconds}",
            f"--run_under=/usr/bin/prlimit --as={MEMORY_BYTES} --core=0", *targets,
        )[0]

    def objects(self, folders):
        """What the object files of the sources in `folders` hold, by name."""
        if self._bin is None:
            self._bin = self.bazel("info", "bazel-bin")[1].strip()
        found = {}
        for folder in folders:
            pattern = os.path.join(self._bin, folder, "_objs", "**", "*.o")
            for path in glob.glob(pattern, recursive=True):
                found[path] = hashlib.sha256(read(path)).digest()
        return found

    def build_unchanged(self, targets):
        """Builds and tests what is in the tree, and remembers the object files."""
        code = self.test(targets, share_cache=True)
        if code != 0:
            raise RuntimeError(f"the tests fail without any mutant:\n{self.errors}")
        folders = {target[2:].split(":")[0] for target in targets}
        self._unchanged = self.objects(folders)
        self._targets, self._folders, self._file = targets, folders, None

    def judge(self, mutant, stages):
        """Tests `mutant` by `stages`, lists of targets that `build_unchanged` was given."""
        if self._file not in (None, mutant.file):
            # The one before may be compiled into what this one's tests do not reach.
            self.build_unchanged(self._targets)
        self._file = mutant.file
        path = os.path.join(self.folder, mutant.file)
        source = read(path)
        lines = source.decode().split("\n")
        if lines[mutant.line - 1] != mutant.before:
            raise RuntimeError(f"{mutant.file}:{mutant.line} changed meanwhile")
        lines[mutant.line - 1] = mutant.after
        try:
            write(path, "\n".join(lines).encode())
            for stage in stages:
                code = self.test(stage)
                if code == BUILD_FAILED:
                    return Verdict.NOT_COMPILING
                if code == TESTS_FAILED:
                    return Verdict.KILLED
                if code != 0:
                    raise RuntimeError(f"bazel test ended with {code}: {self.errors}")
                # What includes a header may be built by a later stage only.
                is_last = mutant.file.endswith(".cc") or stage is stages[-1]
                if is_last and self.objects(self._folders) == self._unchanged:
                    return Verdict.SAME_CODE
            return Verdict.SURVIVED
        finally:
            write(path, source)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
