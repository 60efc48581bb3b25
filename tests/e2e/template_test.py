"""The processes that render chat templates: what ends one of them ends no other chat."""

import os
import signal
import threading

import grpc
import harness
import pytest
from harness import chat, status_of

from phalanx.v1 import inference_pb2 as pb

# Does what the first message says.
TEMPLATE = """{% set word = messages[0].content %}
{%- if word == 'spin' %}{{ 'x' in [0] * 1000000000000000 }}{% endif %}
{%- if word == 'swell' %}{{ ([word * 200000] * 4000)|map('upper')|list|length }}{% endif %}
{%- if word == 'nest' %}{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}{% endif %}
{%- if word == 'divide' %}{{ 1 / 0 }}{% endif %}
{%- if word == 'leak' %}{% set ns = namespace(big=word * 1000000) %}{% set ns.x = ns %}{% endif %}
{%- for m in messages %}{{ m.content }}{% endfor %}"""


@pytest.fixture(name="template")
def template_file(tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text(TEMPLATE)
    return str(path)


@pytest.fixture(name="service")
def service_with_template(cluster, tiny_model, template):
    return cluster.serve(tiny_model, coordinator_flags=["--chat_template", template])


def renderers(service):
    """Beside the coordinator there are only these in its group."""
    return service.coordinator.ranks()


def outcome(stub, word, timeout=120):
    """The status of a chat that says only this."""
    try:
        stub.Tokenize(pb.TokenizeRequest(chat=chat(word).chat), timeout=timeout)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


OK = (grpc.StatusCode.OK, "")


def test_whatever_a_template_does_ends_one_chat_and_is_blamed_on_its_input(service):
    stub = service.stub()
    for word, limit in (
        ("swell", "MiB of memory"),
        ("spin", "of computing"),
        ("nest", "line 4: "),
        ("divide", "line 5: invalid operation: division by zero"),
    ):
        code, details = outcome(stub, word)
        assert code == grpc.StatusCode.INVALID_ARGUMENT, (word, code, details)
        assert details.startswith("chat: the model's template: ") and limit in details, details
        assert outcome(stub, "hello") == OK
    for _ in range(100):
        assert outcome(stub, "leak") == OK
    assert renderers(service)


def test_chats_beside_a_template_that_spins_are_served(cluster, tiny_model, template):
    flags = ["--chat_template", template, "--text_threads", "2"]
    service = cluster.serve(tiny_model, coordinator_flags=flags)
    assert len(renderers(service)) >= 2
    spun = []
    spinner = threading.Thread(target=lambda: spun.append(outcome(service.stub(), "spin")))
    spinner.start()
    for _ in range(20):
        assert outcome(service.stub(), "hello") == OK
    spinner.join()
    assert spun[0][0] == grpc.StatusCode.INVALID_ARGUMENT, spun


def test_killed_renderers_are_replaced(service):
    stub = service.stub()
    for _ in range(5):
        killed = renderers(service)
        assert killed
        for process in killed:
            process.kill()
        assert outcome(stub, "hello") == OK
        assert {p.pid for p in renderers(service)}.isdisjoint({p.pid for p in killed})


def test_ctrl_c_in_a_terminal_reaches_them_and_the_drain_ends_well(service):
    stub = service.stub()
    stream = stub.Generate(chat("hello", max_new_tokens=200, ignore_eos=True))
    harness.first_delta(stream)
    before = {p.pid for p in renderers(service)}
    os.killpg(service.coordinator.process.pid, signal.SIGINT)
    harness.wait_until(lambda: harness.health(service.target) != "SERVING", "the drain begins")
    assert {p.pid for p in renderers(service)} in (before, set()), "or the coordinator has ended"
    assert status_of(stream) == OK
    assert service.coordinator.wait() == 0


def test_none_is_left_behind_by_a_coordinator_that_is_killed(service):
    assert renderers(service)
    service.coordinator.expected_exit = None
    service.coordinator.send(signal.SIGKILL)
    service.coordinator.wait()
    harness.wait_until(lambda: not service.coordinator.group(), "the renderers have ended")


@pytest.mark.parametrize(
    "source, message",
    [
        ("a\n{{ messages | nothing }}", 'line 2: there is no filter "nothing"'),
        ("{% if false %}\n\n{{ 1 is nothing }}{% endif %}", 'line 3: there is no test "nothing"'),
        ("{{ nothing() }}", 'line 1: there is no function "nothing"'),
        ("\n{% include 'x' %}", "line 2: {% include %}: a chat template can use no other template"),
        ("\n\n{% for %}", "line 3: syntax error"),
        ("{{ 'x' * 90000000 }}" * 9, "MiB of memory"),
    ],
)
def test_a_broken_template_is_refused_at_start(cluster, tiny_model, tmp_path, source, message):
    path = tmp_path / "broken.jinja"
    path.write_text(source)
    flags = ["--chat_template", str(path)]
    coordinator = cluster.coordinator(tiny_model, ["127.0.0.1:1"], flags=flags)
    coordinator.expected_exit = None
    assert coordinator.wait() == 1
    assert f"{path}: {message}" in coordinator.log() or message == "MiB of memory"
    assert message in coordinator.log()
