"""Groups that lose ranks while streams run: what is lost is started again, and every stream goes on with its own text."""

import os
import signal
import threading
import time
import uuid

import grpc
import psutil
import pytest
from harness import (
    GREEDY,
    Stub,
    chat,
    first_delta,
    pb,
    read_answer,
    status_of,
    wait_for_health,
    wait_until,
)

SOON_SECONDS = 20
# A process that has died is noticed at once, one that was stopped after the default --stall_timeout.
# A busy machine may be slower, so what was measured is printed, and only what is far beyond fails.
NOTICED_SECONDS = {signal.SIGKILL: 1, signal.SIGSTOP: 3}
FAR_BEYOND = 10

SEEDED = pb.Sampling(temperature=1.0, seed=7)


def requests(max_new_tokens=80):
    """Streams that run side by side: two greedy ones, two drawn by seed, one with a constraint."""
    words = dict(ignore_eos=True, max_new_tokens=max_new_tokens)
    return [
        chat("Tell me a long story about a dog and a cat.", sampling=GREEDY, **words),
        chat("List the planets with a sentence on each.", sampling=GREEDY, **words),
        chat("Tell me a long story about a river.", sampling=SEEDED, **words),
        chat("Explain how bread is made.", sampling=pb.Sampling(temperature=0.7, seed=8), **words),
        chat(
            "Tell me a long story about a cow.",
            sampling=SEEDED,
            constraint=pb.Constraint(regex="([a-z]{1,9} ){300,900}"),
            max_new_tokens=max_new_tokens,
        ),
    ]


class Running:
    """Answers that are read by threads."""

    def __init__(self, target, wanted):
        self.tokens = [None] * len(wanted)
        self.failures = []
        self._threads = [
            threading.Thread(target=self._read, args=(target, number, request), daemon=True)
            for number, request in enumerate(wanted)
        ]
        self.begun = threading.Semaphore(0)
        for thread in self._threads:
            thread.start()

    def _read(self, target, number, request):
        stream = Stub(target).Generate(request, timeout=300)

        def noting_the_first():
            for count, event in enumerate(stream):
                if count == 4:
                    self.begun.release()
                yield event

        try:
            self.tokens[number] = read_answer(noting_the_first()).token_ids
        except (grpc.RpcError, AssertionError) as failure:
            self.failures.append(failure)

    def wait_begun(self):
        for _ in self._threads:
            assert self.begun.acquire(timeout=60)

    def finish(self):
        for thread in self._threads:
            thread.join(timeout=120)
            assert not thread.is_alive()
        assert not self.failures, self.failures
        return self.tokens


def undisturbed(target, wanted):
    return Running(target, wanted).finish()


def epoch(serving):
    return serving.engine().total("phalanx_group_epoch")


def wait_for_epoch(serving, number):
    wait_until(lambda: epoch(serving) == number, f"epoch {number}")


def log_time(line):
    """Seconds of the day of a line of the log."""
    hours, minutes, seconds = line.split()[1].split("T")[1].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def only_loss(program):
    """When the only loss was noticed, by the log, and how long it took until the group served."""
    # The log has it a moment later than the metrics.
    program.wait_for_log("the group serves again after")
    lines = program.log().splitlines()
    lost = [line for line in lines if " of the group is lost: " in line][-1]
    served = [line for line in lines if "the group serves again after" in line][-1]
    return log_time(lost), log_time(served) - log_time(lost), lost


def now_of_day():
    moment = time.time()
    return moment % 86400


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
@pytest.mark.parametrize(
    "number, steps_in_flight", [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGSTOP, 1)]
)
def test_a_lost_rank_is_replaced_and_streams_go_on(cluster, smollm2, number, steps_in_flight, busy):
    flags = ["--steps_in_flight", str(steps_in_flight)]
    serving = cluster.serve(smollm2, tp=2, worker_flags=flags)
    wanted = requests()
    expected = undisturbed(serving.target, wanted)
    (rank,) = serving.worker.ranks()
    running = Running(serving.target, wanted if busy else [])
    running.wait_begun()
    struck = now_of_day()
    os.kill(rank.pid, number)
    wait_for_epoch(serving, 2)
    noticed, healed, line = only_loss(serving.worker)
    print(f"{signal.Signals(number).name}, {'busy' if busy else 'idle'}: "
          f"noticed after {noticed - struck:.3f} s, served again {healed:.3f} s later: {line}")
    assert noticed - struck < NOTICED_SECONDS[number] + FAR_BEYOND
    if busy:
        assert running.finish() == expected
    assert undisturbed(serving.target, wanted) == expected
    wait_for_health(serving.target, "SERVING")
    engine = serving.engine()
    assert engine.total("phalanx_group_losses_total") == 1
    assert engine.total("phalanx_rank_restarts_total") == 1
    assert engine.total("phalanx_group_heal_seconds_count") == 1
    serving.wait_idle()
    assert not psutil.pid_exists(rank.pid)


def test_ten_losses_in_a_row_change_no_text_and_leave_nothing_behind(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=3)
    leader = psutil.Process(serving.worker.process.pid)
    wanted = requests(max_new_tokens=200)
    expected = undisturbed(serving.target, wanted)
    running = Running(serving.target, wanted)
    running.wait_begun()
    sizes = []
    for loss in range(1, 11):
        ranks = serving.worker.ranks()
        assert len(ranks) == 2
        ranks[loss % 2].kill()
        wait_for_epoch(serving, loss + 1)
        sizes.append((leader.num_fds(), leader.num_threads(), leader.memory_info().rss))
        # So that a stream comes further between two losses: else it may be why they happen.
        before = serving.engine().total("phalanx_engine_generation_tokens_total")
        wait_until(
            lambda before=before: serving.engine().total("phalanx_engine_generation_tokens_total") > before + 8
            or all(tokens is not None for tokens in running.tokens),
            "tokens come again",
        )
    assert running.finish() == expected
    serving.wait_idle()
    # The leader, two ranks and the process that tries constraints.
    assert len(serving.worker.group()) == 4 and len(serving.worker.ranks()) == 2
    print("descriptors, threads and bytes of the leader after each loss:", sizes)
    assert sizes[-1][0] <= sizes[1][0] + 2
    assert sizes[-1][1] <= sizes[1][1] + 1
    assert sizes[-1][2] < sizes[1][2] * 1.1


def test_a_rank_that_dies_while_the_group_loads_is_replaced(cluster, smollm2):
    worker = cluster.worker(smollm2, tp=3)
    worker.wait_for_log("rank 2 has joined")
    worker.ranks()[1].kill()
    worker.wait_ready()
    assert len(worker.metrics_addresses()) == 3
    coordinator = cluster.coordinator(smollm2, [worker.target]).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    read_answer(Stub(coordinator.target).Generate(chat("Hello.", sampling=GREEDY, max_new_tokens=4)))
    assert "rank 2 was killed by signal 9 (Killed) while the group formed" in worker.log()


def test_a_rank_that_dies_again_while_the_group_heals_is_replaced_again(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2)
    wanted = requests()
    expected = undisturbed(serving.target, wanted)
    running = Running(serving.target, wanted)
    running.wait_begun()
    serving.worker.ranks()[0].kill()
    serving.worker.wait_for_log("epoch 2 of the group forms")

    def kill_the_new_one():
        for rank in serving.worker.ranks():
            rank.kill()
            return True
        return False

    wait_until(kill_the_new_one, "the new rank is there")
    wait_for_epoch(serving, 3)
    assert running.finish() == expected


def test_a_rank_that_can_never_load_ends_the_group(cluster, tiny_model, tmp_path):
    broken = tmp_path / "gone.gguf"
    broken.write_bytes(open(tiny_model, "rb").read())
    serving = cluster.serve(str(broken), tp=2)
    broken.unlink()
    serving.worker.ranks()[0].kill()
    serving.worker.expected_exit = 1
    assert serving.worker.wait(SOON_SECONDS) == 1
    assert "times in a row before it was ready" in serving.worker.log()
    wait_for_health(serving.target, "NOT_SERVING")


def test_another_group_does_not_notice(cluster, smollm2):
    troubled = cluster.worker(smollm2, tp=2).wait_ready()
    calm = cluster.worker(smollm2).wait_ready()
    coordinator = cluster.coordinator(smollm2, [calm.target]).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    wanted = requests()
    expected = undisturbed(coordinator.target, wanted)
    running = Running(coordinator.target, wanted)
    running.wait_begun()
    troubled.ranks()[0].kill()
    troubled.wait_for_log("the group serves again")
    assert running.finish() == expected
    assert "lost" not in calm.log()


def test_a_killed_leader_takes_its_ranks_along_and_streams_end(cluster, smollm2):
    serving = cluster.serve(smollm2, tp=2)
    stream = serving.stub().Generate(requests(4000)[0])
    first_delta(stream)
    serving.worker.expected_exit = -signal.SIGKILL
    serving.worker.send(signal.SIGKILL)
    struck = time.monotonic()
    code, details = status_of(stream)
    print(f"SIGKILL of the leader: the stream ended after {time.monotonic() - struck:.3f} s: {details}")
    assert code == grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - struck < 1 + FAR_BEYOND
    wait_until(lambda: not serving.worker.group(), "no rank is left")


# --- Ranks that others than the leader start ---


@pytest.fixture
def group_socket():
    return f"@phalanx-test-{uuid.uuid4().hex}"


def serve_by_hand(cluster, model, group_socket):
    rank = cluster.rank(model, 1, group_socket)
    leader = cluster.rank(model, 0, group_socket).wait_ready()
    coordinator = cluster.coordinator(model, [leader.target]).wait_ready()
    wait_for_health(coordinator.target, "SERVING")
    return leader, rank, coordinator


def test_a_group_waits_for_a_rank_that_others_start_again(cluster, smollm2, group_socket):
    leader, rank, coordinator = serve_by_hand(cluster, smollm2, group_socket)
    wanted = requests()
    expected = undisturbed(coordinator.target, wanted)
    running = Running(coordinator.target, wanted)
    running.wait_begun()
    rank.expected_exit = -signal.SIGKILL
    rank.send(signal.SIGKILL)
    wait_for_health(coordinator.target, "NOT_SERVING")
    cluster.rank(smollm2, 1, group_socket)
    assert running.finish() == expected
    wait_for_health(coordinator.target, "SERVING")


def test_ranks_keep_their_weights_when_their_leader_is_started_again(cluster, smollm2, group_socket):
    leader, rank, coordinator = serve_by_hand(cluster, smollm2, group_socket)
    wanted = requests(20)
    expected = undisturbed(coordinator.target, wanted)
    leader.expected_exit = -signal.SIGKILL
    leader.send(signal.SIGKILL)
    rank.wait_for_log("keeping the weights and joining again")
    new_leader = cluster.rank(smollm2, 0, group_socket).wait_ready()
    new_coordinator = cluster.coordinator(smollm2, [new_leader.target]).wait_ready()
    wait_for_health(new_coordinator.target, "SERVING")
    assert undisturbed(new_coordinator.target, wanted) == expected
    assert rank.log().count("rank 1 of 2: ") == 1, "it has loaded its weights once"
