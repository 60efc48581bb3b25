"""Fixtures: a cluster for one test, and one that serves a whole module."""

import subprocess

import pytest
from harness import Cluster, path_of


@pytest.fixture
def cluster(tmp_path):
    """Programs that are stopped, and checked to be gone, after the test."""
    programs = Cluster(tmp_path)
    yield programs
    programs.stop()


@pytest.fixture(scope="session")
def smollm2():
    """Path of the real model."""
    return path_of("SMOLLM2")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Path of a model that is fast and talks nonsense."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    subprocess.run([path_of("WRITE_TINY_MODEL"), "gguf", str(path)], check=True)
    return str(path)


@pytest.fixture
def tiny_folder(tmp_path):
    """Path of a Hugging Face folder with LongRoPE beyond 64 tokens, a test's own to break."""
    path = tmp_path / "tiny-phi"
    path.mkdir()
    subprocess.run([path_of("WRITE_TINY_MODEL"), "folder", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def serving(tmp_path_factory, smollm2):
    """The real model on two ranks, shared by the tests of a module; idle after each."""
    programs = Cluster(tmp_path_factory.mktemp("serving"))
    yield programs.serve(smollm2, tp=2)
    programs.stop()


@pytest.fixture
def stub(serving):
    """A connection to the module's coordinator. Each test must leave it idle."""
    yield serving.stub()
    serving.wait_idle()
