"""The programs of examples/ work, and the README quotes them as they are."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from harness import PATIENCE_SECONDS, path_of

QUESTION = "What is the capital of France?"
ROOT = pathlib.Path.cwd()


def run(command, timeout=PATIENCE_SECONDS, **kwargs):
    """Runs a program that must succeed; returns its output."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, **kwargs
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_answers(output):
    assert "Paris" in output
    assert re.search(r"\n\[\d+ tokens\]\n$", output)


def test_python(serving):
    program = ROOT / "examples/python/stream.py"
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "tests/e2e"))
    assert_answers(run([path_of("PYTHON"), program, serving.target, QUESTION], env=environment))


def test_cpp(serving):
    assert_answers(run([path_of("CPP_STREAM"), serving.target, QUESTION]))


@pytest.fixture
def go_program(tmp_path):
    """go generate and go build, in a copy of the folder. tools/install has fetched the modules."""
    folder = tmp_path / "examples/go"
    folder.mkdir(parents=True)
    for source in (ROOT / "examples/go").iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    home = pathlib.Path("~").expanduser()
    environment = dict(
        os.environ,
        HOME=str(home),
        GOFLAGS="-mod=readonly",
        GOPROXY="off",
        GOTOOLCHAIN="local",
        PATH=os.path.dirname(os.path.realpath(path_of("GO"))) + ":" + os.environ["PATH"],
    )
    # The first time, with an empty build cache, this is minutes of compiling.
    run(["go", "generate", "./..."], timeout=250, cwd=folder, env=environment)
    run(["go", "build", "-o", tmp_path / "stream", "."], timeout=250, cwd=folder, env=environment)
    return tmp_path / "stream"


def test_go(serving, go_program):
    assert_answers(run([go_program, serving.target, QUESTION]))


def test_the_readme_quotes_the_examples():
    readme = (ROOT / "README.md").read_text()
    quoted = dict(re.findall(r"<!-- file: (\S+) -->\n+```\w*\n(.*?)```", readme, re.DOTALL))
    assert set(quoted) == {"examples/python/stream.py", "examples/go/main.go", "examples/cpp/stream.cc"}
    for path, text in quoted.items():
        assert text == (ROOT / path).read_text(), f"README.md differs from {path}"
