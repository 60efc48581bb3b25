"""Which threads run where (--pin), and which step back (coordinator --nice).

Threads that compute keep to their CPUs; all others, and ranks to come, are left free.
"""

import os

import psutil
import pytest
from harness import GREEDY, chat, read_answer, wait_for_health, wait_until
from metrics_page import scrape

ALLOWED = os.sched_getaffinity(0)
TWO_CPUS = pytest.mark.skipif(len(ALLOWED) < 2, reason="ranks need a CPU each")


def answer(serving):
    read_answer(serving.stub().Generate(chat("Hi.", sampling=GREEDY, ignore_eos=True, max_new_tokens=4)))


def affinities(pid):
    """What each thread of a process may run on."""
    return [frozenset(os.sched_getaffinity(thread.id)) for thread in psutil.Process(pid).threads()]


def pinned_cpu(pid):
    """The CPU that one thread keeps to; checks that the others are free."""
    sets = affinities(pid)
    pinned = [cpus for cpus in sets if cpus != ALLOWED]
    assert len(pinned) == 1 and len(pinned[0]) == 1, sets
    assert len(sets) > 1
    return next(iter(pinned[0]))


@TWO_CPUS
def test_each_rank_computes_on_a_cpu_of_its_own(cluster, tiny_model):
    serving = cluster.serve(tiny_model, tp=2, worker_flags=["--pin", "cores", "--threads", "1"])
    answer(serving)
    leader = serving.worker.process.pid
    (rank,) = serving.worker.ranks()
    cpus = [pinned_cpu(leader), pinned_cpu(rank.pid)]
    assert len(set(cpus)) == 2
    assert f"threads keep to a CPU each, of {cpus[0]}: 2 ranks of 1 thread on" in serving.worker.log()

    # One that is started again, by a leader that computes, is where the one before was.
    rank.kill()
    wait_until(lambda: [r.pid for r in serving.worker.ranks()] not in ([], [rank.pid]), "it starts again")
    # The group serves again, and the coordinator has heard of it.
    wait_until(lambda: serving.engine().total("phalanx_group_epoch") == 2, "the group forms again")
    wait_for_health(serving.worker.target, "SERVING")
    coordinator = serving.coordinator.metrics_addresses()[0]
    wait_until(lambda: scrape(coordinator).total("phalanx_worker_groups", state="serving") == 1, "it is back")
    answer(serving)
    (again,) = serving.worker.ranks()
    assert [pinned_cpu(leader), pinned_cpu(again.pid)] == cpus


@TWO_CPUS
def test_the_threads_of_a_rank_have_a_cpu_each(cluster, tiny_model):
    serving = cluster.serve(tiny_model, worker_flags=["--pin", "cores", "--threads", "2"])
    answer(serving)
    pinned = [cpus for cpus in affinities(serving.worker.process.pid) if cpus != ALLOWED]
    assert len(set(pinned)) == len(pinned) == 2
    assert all(len(cpus) == 1 for cpus in pinned)


def test_by_default_threads_of_a_single_node_are_free(cluster, tiny_model):
    serving = cluster.serve(tiny_model)
    answer(serving)
    if "1 NUMA node" not in serving.worker.log():
        pytest.skip("there are several")
    assert set(affinities(serving.worker.process.pid)) == {frozenset(ALLOWED)}
    assert "threads run on any of the CPUs" in serving.worker.log()


def priorities(pid):
    """How far each thread of a process steps back."""
    return {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in psutil.Process(pid).threads()}


@pytest.mark.parametrize(("flags", "steps_back"), [([], 5), (["--nice", "0"], 0), (["--nice", "19"], 19)])
def test_a_coordinator_steps_back_behind_those_that_compute(cluster, tiny_model, flags, steps_back):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    serving = cluster.serve(tiny_model, coordinator_flags=flags)
    answer(serving)
    assert priorities(serving.coordinator.process.pid) == {min(own + steps_back, 19)}
    assert priorities(serving.worker.process.pid) == {own}
