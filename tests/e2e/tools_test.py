"""Tools that a model must call, on the real model: calls come as events, and follow their schemas."""

import json
import subprocess

import grpc
import pytest
from harness import PATIENCE_SECONDS, Cluster, chat, path_of, pb, read_answer, status_of

# As Qwen2.5 writes it, in short: SmolLM2's own template takes no tools.
TEMPLATE = """{%- if tools %}<|im_start|>system
You may call these functions: {% for tool in tools %}{{ tool | tojson }}
{% endfor %}Write <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
}
NOW = {"type": "object", "properties": {"zone": {"type": "string", "maxLength": 10}}, "additionalProperties": False}


@pytest.fixture(name="service", scope="module")
def service_with_tools(smollm2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    template = folder / "tools.jinja"
    template.write_text(TEMPLATE)
    programs = Cluster(folder)
    yield programs.serve(smollm2, coordinator_flags=["--chat_template", str(template)])
    programs.stop()


def request(**fields):
    asked = chat("What is the weather in Oslo?", parse_tool_calls=True, max_new_tokens=300, **fields)
    for name, schema in (("get_weather", WEATHER), ("now", NOW)):
        asked.chat.tools.add(name=name, description="A function.", parameters=json.dumps(schema))
    return asked


def calls_of(stub, asked):
    """The calls of the answer, each put together, and the answer."""
    events = list(stub.Generate(asked))
    calls = {}
    for event in events:
        for news in event.delta.tool_calls:
            call = calls.setdefault(news.index, pb.ToolCallDelta(index=news.index))
            arguments = call.arguments + news.arguments
            call.MergeFrom(news)
            call.arguments = arguments
    return list(calls.values()), read_answer(events)


HOT = {"temperature": 1.5, "top_k": 0, "top_p": 1}


def test_the_model_must_call_the_tool_that_is_named(service):
    stub = service.stub()
    assert stub.GetModel(pb.GetModelRequest()).tool_call_format == "hermes"
    for seed in range(4):
        asked = request(sampling=pb.Sampling(seed=seed, **HOT), tool_choice=pb.ToolChoice(name="get_weather"))
        calls, answer = calls_of(stub, asked)
        assert [call.name for call in calls] == ["get_weather"]
        assert calls[0].id.startswith("call_")
        assert calls[0].end.valid, calls[0]
        arguments = json.loads(calls[0].arguments)
        assert 1 <= arguments["days"] <= 14
        assert answer.text == ""
        assert answer.finished.reason == pb.FINISH_REASON_TOOL_CALLS


def test_the_model_must_call_some_tool(service):
    stub = service.stub()
    seen = set()
    for seed in range(6):
        asked = request(
            sampling=pb.Sampling(seed=seed, **HOT),
            tool_choice=pb.ToolChoice(mode=pb.ToolChoice.MODE_REQUIRED),
        )
        calls, answer = calls_of(stub, asked)
        assert calls
        cut_off = answer.finished.reason == pb.FINISH_REASON_LENGTH
        # Of a call that is cut off before its arguments, there is only the text.
        assert answer.text == "" or (cut_off and answer.text.startswith("\n<tool_call>"[: len(answer.text)]))
        assert all(call.end.valid for call in (calls[:-1] if cut_off else calls))
        seen.update(call.name for call in calls)
    assert seen <= {"get_weather", "now"}


def test_without_parsing_the_call_is_text_and_can_be_sent_back(service):
    stub = service.stub()
    asked = request(sampling=pb.Sampling(temperature=0), tool_choice=pb.ToolChoice(name="now"))
    asked.parse_tool_calls = False
    calls, answer = calls_of(stub, asked)
    assert not calls
    assert answer.text.startswith('<tool_call>\n{"name": "now", "arguments": {')
    assert answer.finished.reason == pb.FINISH_REASON_STOP
    asked.parse_tool_calls = True
    calls, answer = calls_of(stub, asked)
    asked.ClearField("tool_choice")
    message = asked.chat.messages.add(role="assistant")
    message.tool_calls.add(id=calls[0].id, name=calls[0].name, arguments=calls[0].arguments)
    asked.chat.messages.add(role="tool", content="noon", tool_call_id=calls[0].id, name="now")
    asked.max_new_tokens = 5
    assert calls_of(stub, asked)[1].finished.usage.completion_tokens <= 5


def test_phalanx_shows_calls(service, tmp_path):
    tools = tmp_path / "tools.json"
    function = {"name": "get_weather", "description": "Weather.", "parameters": WEATHER}
    tools.write_text(json.dumps([{"type": "function", "function": function}]))
    run = subprocess.run(
        [path_of("PHALANX"), "generate", "--target", service.target, "--temperature", "0"]
        + ["--tools", str(tools), "--parse_tool_calls", "--tool_choice", "get_weather", "Oslo?"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("get_weather("), run.stdout
    assert run.stdout.endswith(")\n"), run.stdout
    arguments = json.loads(run.stdout[len("get_weather(") : -2])
    assert arguments["unit"] in ("celsius", "fahrenheit")


def test_what_cannot_be_is_refused(service):
    stub = service.stub()
    bad = request()
    bad.chat.tools[0].parameters = '{"type": "strin"}'
    code, details = status_of(stub.Generate(bad))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("chat.tools[0].parameters: is no JSON schema")
    unknown = request(tool_choice=pb.ToolChoice(name="other"))
    code, details = status_of(stub.Generate(unknown))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == 'tool_choice.name: "other" is none of chat.tools'
