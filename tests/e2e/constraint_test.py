"""Answers that have to follow a constraint do, however hot they are drawn."""

import json
import re

import grpc
import jsonschema
import pytest
from harness import GREEDY, chat, pb, read_answer, status_of


def integer(low, high):
    return {"type": "integer", "minimum": low, "maximum": high}


# Every loop in these is bounded, so that an answer comes to its end.
WORD = {"type": "string", "maxLength": 12}
SCHEMAS = {
    "flat": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 10},
            "age": integer(0, 150),
            "member": {"type": "boolean"},
        },
        "required": ["name", "age", "member"],
        "additionalProperties": False,
    },
    "optional": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": WORD, "c": {"enum": ["x", "y", 3]}},
        "required": ["c"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "sea": {
                "type": "object",
                "properties": {"name": WORD, "depth": integer(1, 11000)},
                "required": ["name", "depth"],
                "additionalProperties": False,
            },
            "fish": {"type": "array", "items": WORD, "minItems": 1, "maxItems": 3},
        },
        "required": ["sea", "fish"],
        "additionalProperties": False,
    },
    "union": {
        "anyOf": [
            integer(-50, 50),
            {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 1, "maxItems": 4},
            {"type": "string", "pattern": "^[A-Z][a-z]{1,8}$"},
        ]
    },
    "references": {
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"x": integer(0, 9)},
                "required": ["x"],
                "additionalProperties": False,
            }
        },
        "type": "array",
        "items": {"$ref": "#/$defs/point"},
        "minItems": 2,
        "maxItems": 2,
    },
    "dates": {
        "type": "object",
        "properties": {"day": {"type": "string", "format": "date"}, "hour": integer(0, 23)},
        "required": ["day", "hour"],
        "additionalProperties": False,
    },
}


def ask(stub, constraint, n=4, seed=1, temperature=1.5):
    """The texts of all choices, each of which must have come to its end."""
    request = chat(
        "Tell me about the sea.",
        sampling=pb.Sampling(temperature=temperature, top_k=0, top_p=1, seed=seed),
        max_new_tokens=400,
        constraint=constraint,
        n=n,
    )
    texts = [""] * n
    for event in stub.Generate(request):
        if event.HasField("delta"):
            texts[event.delta.choice] += event.delta.text
        if event.HasField("finished"):
            assert event.finished.reason == pb.FINISH_REASON_STOP, texts
    return texts


@pytest.mark.parametrize("name", SCHEMAS)
def test_hot_answers_follow_the_schema(stub, name):
    texts = ask(stub, pb.Constraint(json_schema=json.dumps(SCHEMAS[name])), n=8)
    for text in texts:
        jsonschema.validate(
            json.loads(text), SCHEMAS[name], format_checker=jsonschema.FormatChecker()
        )
    assert len(set(texts)) > 1


def test_any_object_is_one(stub):
    # Nothing bounds it, so only what has come to an end can be parsed.
    request = chat(
        'Answer with {"sea": "blue"} and nothing else.',
        sampling=GREEDY,
        max_new_tokens=100,
        constraint=pb.Constraint(json_object=True),
    )
    answer = read_answer(stub.Generate(request))
    assert answer.text.startswith("{")
    if answer.finished.reason == pb.FINISH_REASON_STOP:
        assert isinstance(json.loads(answer.text), dict)


def test_regex_choices_and_grammar(stub):
    pattern = r"[A-Z][a-z]{2,9}, [0-9]{4}"
    for text in ask(stub, pb.Constraint(regex=pattern)):
        assert re.fullmatch(pattern, text), text
    values = ["yes", "no", "it depends, größe"]
    for text in ask(stub, pb.Constraint(choices=pb.Choices(values=values)), n=8):
        assert text in values
    grammar = 'start: sum\nsum: N ("+" N){1,3}\nN: /[1-9][0-9]?/'
    for text in ask(stub, pb.Constraint(lark=grammar)):
        assert re.fullmatch(r"[1-9][0-9]?(\+[1-9][0-9]?){1,3}", text), text


def test_an_answer_does_not_depend_on_what_runs_beside_it(stub):
    constraint = pb.Constraint(json_schema=json.dumps(SCHEMAS["nested"]))
    together = ask(stub, constraint, n=4, seed=10)
    assert together == [ask(stub, constraint, n=1, seed=10 + i)[0] for i in range(4)]


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        (pb.Constraint(json_schema="{"), "no JSON"),
        (pb.Constraint(json_schema='{"not": {}}'), "not"),
        (pb.Constraint(json_schema='{"$ref": "#"}'), "no text"),
        (pb.Constraint(regex="(a"), "unclosed"),
        (pb.Constraint(lark="start: nothing"), "nothing"),
        (pb.Constraint(), "constraint: one of"),
        (pb.Constraint(json_schema='{"items":' * 5000 + "{}" + "}" * 5000), "recursion"),
        (pb.Constraint(json_schema='{"type":"integer","multipleOf":1000003}'), "60ms of comp"),
        (pb.Constraint(regex="a?" * 20000), "computing to compile"),
    ],
)
def test_a_wrong_or_hostile_constraint_fails_alone(stub, constraint, reason):
    beside = stub.Generate(chat("Count.", sampling=GREEDY, max_new_tokens=24, ignore_eos=True))
    code, details = status_of(stub.Generate(chat("Hi", constraint=constraint)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("constraint") and reason in details
    assert len(read_answer(beside).token_ids) == 24
