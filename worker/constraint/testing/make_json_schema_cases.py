#!/usr/bin/env python3
"""Writes json_schema_cases.json: schemas, and texts that fulfil them or do not.

Which is which is said by Python's jsonschema, whose version goes into the file. Run it where that
is installed (tests/e2e/requirements.txt names the version):

    ~/.cache/phalanx/bin/python worker/constraint/testing/make_json_schema_cases.py
"""

import importlib.metadata
import json
import pathlib

import jsonschema

# Schema, then values. Properties are in the order of the schema, as they will be written.
CASES = []
# Schema, then values that fulfil it and that a model will not be let write: see
# docs/constraints.md.
NARROWER = []


def case(schema, *values):
    CASES.append((schema, values))


def obj(properties, required=None, **more):
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required is None:
        required = list(properties)
    if required:
        schema["required"] = required
    return {**schema, **more}


INT, NUM, STR, BOOL, NULL = (
    {"type": t} for t in ("integer", "number", "string", "boolean", "null")
)
ANYTHING = [0, -7, 2.5, "", "text", True, False, None, [], [1, "a"], {}, {"a": 1}]


def types():
    for name in ("integer", "number", "string", "boolean", "null", "array", "object"):
        case({"type": name}, *ANYTHING)
    for pair in (
        ["integer", "null"],
        ["string", "null"],
        ["string", "integer"],
        ["number", "boolean"],
        ["array", "object"],
        ["object", "null"],
        ["integer", "string", "boolean"],
    ):
        case({"type": pair}, *ANYTHING)
    case({}, *ANYTHING)
    case(True, *ANYTHING)
    case(
        {"title": "T", "description": "D", "$comment": "C", "default": 1, "examples": [1]},
        *ANYTHING,
    )


def numbers():
    edges = [-1000, -11, -10, -9, -1, 0, 1, 4, 5, 6, 9, 10, 11, 99, 100, 101, 1000]
    for low, high in ((0, 10), (-10, -1), (-10, 100), (5, 5), (0, 99), (1, 1000), (-1000, 1000)):
        case({"type": "integer", "minimum": low, "maximum": high}, *edges)
        case({"type": "integer", "exclusiveMinimum": low - 1, "exclusiveMaximum": high + 1}, *edges)
    case({"type": "integer", "minimum": 5}, *edges)
    case({"type": "integer", "maximum": 5}, *edges)
    case({"type": "integer", "exclusiveMinimum": 5}, *edges)
    case({"type": "integer", "exclusiveMaximum": -5}, *edges)
    floats = [-2.5, -0.5, 0, 0.25, 0.5, 1, 1.5, 2, 2.5, 3.75, 10, 10.5, 99.5]
    for low, high in ((0, 1), (-0.5, 2.5), (0.5, 10), (1.5, 1.5), (-2.5, -0.5)):
        case({"type": "number", "minimum": low, "maximum": high}, *floats)
        case({"type": "number", "exclusiveMinimum": low, "maximum": high + 1}, *floats)
    case({"type": "number", "minimum": 1.5}, *floats)
    case({"type": "number", "maximum": 1.5}, *floats)
    for step in (2, 3, 5, 10, 25):
        case({"type": "integer", "multipleOf": step}, *range(-30, 31, 5), *range(8))
    case({"type": "number", "multipleOf": 0.5}, 0, 0.5, 1, 1.25, 2.5)
    case({"type": "integer", "minimum": 10, "maximum": 50, "multipleOf": 10}, *range(0, 70, 5))


def strings():
    texts = [
        "",
        "a",
        "ab",
        "abc",
        "abcd",
        "hello world",
        "äöü",
        "日本",
        'q"q',
        "a\\b",
        "line\nline",
        5,
    ]
    for low, high in ((0, 0), (1, 3), (3, 3), (2, 100), (0, 5)):
        case({"type": "string", "minLength": low, "maxLength": high}, *texts)
    case({"type": "string", "minLength": 4}, *texts)
    case({"type": "string", "maxLength": 2}, *texts)
    words = [
        "",
        "a",
        "aa",
        "ab",
        "abc",
        "b",
        "x1",
        "X1",
        "1",
        "12",
        "123",
        "1234",
        "a-b",
        "foo bar",
        "2024-01-31",
    ]
    for pattern in (
        "^a*$",
        "^[a-z]+$",
        "^[A-Z][0-9]$",
        "^[0-9]{2,3}$",
        "^(a|b)c?$",
        "^[a-z]+-[a-z]+$",
        "^\\d{4}-\\d{2}-\\d{2}$",
        "^\\w+$",
        "^.{3}$",
        "^(foo|bar)( (foo|bar))*$",
        "b",
        "[0-9]",
        "^a",
        "c$",
    ):
        case({"type": "string", "pattern": pattern}, *words)
    case({"type": "string", "pattern": "^[ab]+$", "minLength": 2, "maxLength": 3}, *words)
    formats = {
        "date": ["2024-01-31", "2024-1-31", "31.1.2024", ""],
        # jsonschema does not check this one without another package.
        "date-time": ["2024-01-31T12:30:00Z"],
        "ipv4": ["127.0.0.1", "127.0.0", "1.2.3.4.5"],
        "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123e4567"],
        "email": ["a@example.com", "a", ""],
    }
    for name, values in formats.items():
        case({"type": "string", "format": name}, *values)


def choices():
    case({"enum": ["red", "green", "blue"]}, "red", "blue", "re", "redd", "", 1)
    case({"enum": [1, 2, 10]}, 1, 2, 10, 0, 3, "1")
    case({"enum": ["a", 1, None, True]}, "a", 1, None, True, False, "b", 2)
    case({"enum": [[1, 2], {"a": 1}]}, [1, 2], {"a": 1}, [1], [2, 1], {}, {"a": 2})
    case({"enum": ['with "quotes"', "tab\t", "ünï"]}, 'with "quotes"', "tab\t", "ünï", "tab")
    case({"type": "string", "enum": ["x", "y"]}, "x", "y", "z", 1)
    for constant in ("fixed", 42, -1.5, True, None, [], [1, [2]], {"k": "v"}):
        case({"const": constant}, *ANYTHING, "fixed", 42, -1.5, [1, [2]], {"k": "v"})


def arrays():
    lists = [
        [],
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4],
        ["a"],
        ["a", "b"],
        [1, "a"],
        [[1], [2]],
        [None],
        1,
    ]
    case({"type": "array", "items": INT}, *lists)
    case({"type": "array", "items": STR}, *lists)
    case({"type": "array", "items": {"type": "array", "items": INT}}, *lists)
    case({"type": "array", "items": {"type": ["integer", "string"]}}, *lists)
    for low, high in ((0, 0), (1, 1), (1, 3), (2, 2), (3, 10)):
        case({"type": "array", "minItems": low, "maxItems": high}, *lists)
        case({"type": "array", "items": INT, "minItems": low, "maxItems": high}, *lists)
    case({"type": "array", "minItems": 2}, *lists)
    case({"type": "array", "maxItems": 1}, *lists)
    case({"type": "array", "prefixItems": [INT, STR], "items": False}, *lists)
    case({"type": "array", "prefixItems": [INT, STR], "items": BOOL}, *lists, [1, "a", True])
    case({"type": "array", "prefixItems": [INT, STR], "items": False, "minItems": 2}, *lists)
    case({"type": "array", "prefixItems": [INT], "minItems": 1}, *lists)
    case(
        {"type": "array", "items": obj({"n": INT})},
        [],
        [{"n": 1}],
        [{"n": 1}, {"n": 2}],
        [{}],
        [{"n": "x"}],
    )
    case({"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}, *lists, ["b", "b"], ["c"])


def objects():
    values = [
        {},
        {"a": 1},
        {"a": 1, "b": "x"},
        {"b": "x"},
        {"a": "x"},
        {"a": 1, "c": 2},
        {"a": None},
        [],
        1,
    ]
    case(obj({"a": INT}), *values)
    case(obj({"a": INT}, []), *values)
    case(obj({"a": INT, "b": STR}), *values)
    case(obj({"a": INT, "b": STR}, ["a"]), *values)
    case(obj({"a": INT, "b": STR}, ["b"]), *values)
    case(obj({"a": INT, "b": STR}, []), *values)
    case({"type": "object", "properties": {"a": INT}}, *values)
    case({"type": "object", "properties": {"a": INT}, "required": ["a"]}, *values)
    case({"type": "object", "required": ["a", "b"]}, *values)
    case({"type": "object", "additionalProperties": INT}, *values, {"x": 1, "y": 2})
    case({"type": "object", "additionalProperties": False}, *values)
    case(
        {"type": "object", "properties": {"a": INT}, "additionalProperties": STR},
        *values,
        {"a": 1, "z": "y"},
    )
    case({"type": "object", "minProperties": 1}, *values)
    case({"type": "object", "maxProperties": 1}, *values)
    case(
        {"type": "object", "patternProperties": {"^s_": STR}, "additionalProperties": False},
        {},
        {"s_a": "x"},
        {"s_a": 1},
        {"t": "x"},
    )
    case(
        {"type": "object", "patternProperties": {"^n_": INT, "^s_": STR}},
        {},
        {"n_a": 1, "s_a": "x"},
        {"n_a": "x"},
        {"q": 1},
    )
    case(
        obj({"a": obj({"b": obj({"c": INT})})}),
        {"a": {"b": {"c": 1}}},
        {"a": {"b": {}}},
        {"a": {}},
        {"a": {"b": {"c": "x"}}},
    )
    case(
        obj({"list": {"type": "array", "items": INT}, "flag": BOOL}),
        {"list": [], "flag": True},
        {"list": [1, 2], "flag": False},
        {"list": [1]},
        {"flag": True},
        {"list": ["x"], "flag": True},
    )
    case(
        obj({"with space": INT, 'quote"d': INT, "ü": INT}),
        {"with space": 1, 'quote"d': 2, "ü": 3},
        {"with space": 1},
    )
    case(
        obj(
            {
                "name": {"type": "string", "minLength": 1},
                "age": {"type": "integer", "minimum": 0, "maximum": 150},
                "email": {"type": ["string", "null"]},
            }
        ),
        {"name": "Ann", "age": 30, "email": None},
        {"name": "", "age": 30, "email": None},
        {"name": "Ann", "age": 151, "email": None},
        {"name": "Ann", "age": -1, "email": "x"},
        {"name": "Ann", "age": 30, "email": "x"},
    )
    for n in (3, 10, 20):
        schema = obj({f"p{i}": INT for i in range(n)})
        whole = {f"p{i}": i for i in range(n)}
        case(schema, whole, {**whole, "p1": "x"}, {k: v for k, v in whole.items() if k != "p2"})
        case(obj({f"p{i}": INT for i in range(n)}, []), whole, {}, {"p0": 1, "p2": 2}, {"p1": True})


def combinations():
    case({"anyOf": [INT, STR]}, *ANYTHING)
    case(
        {"anyOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 7}]},
        *range(0, 10),
    )
    case(
        {"anyOf": [obj({"a": INT}), obj({"b": STR})]},
        {"a": 1},
        {"b": "x"},
        {},
        {"a": "x"},
        {"b": 1},
        {"a": 1, "b": "x"},
    )
    case({"oneOf": [INT, STR]}, *ANYTHING)
    case(
        {
            "oneOf": [
                obj({"kind": {"const": "circle"}, "r": NUM}),
                obj({"kind": {"const": "box"}, "w": NUM, "h": NUM}),
            ]
        },
        {"kind": "circle", "r": 1.5},
        {"kind": "box", "w": 1, "h": 2},
        {"kind": "box", "r": 1},
        {"kind": "disc", "r": 1},
        {"kind": "circle"},
    )
    case({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 7}]}, *range(0, 10), "x")
    case(
        {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 3}]},
        "",
        "a",
        "ab",
        "abc",
        "abcd",
    )
    case(
        {
            "allOf": [
                {"type": "object", "properties": {"a": INT}, "required": ["a"]},
                {"type": "object", "properties": {"b": STR}, "required": ["b"]},
            ]
        },
        {"a": 1, "b": "x"},
        {"a": 1},
        {"b": "x"},
        {"a": "x", "b": "x"},
    )
    case(
        {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "z$"}]},
        "az",
        "abz",
        "a",
        "z",
        "za",
    )
    case(
        {
            "type": "object",
            "properties": {"v": {"anyOf": [NULL, {"type": "array", "items": INT}]}},
            "required": ["v"],
            "additionalProperties": False,
        },
        {"v": None},
        {"v": [1]},
        {"v": ["x"]},
        {"v": 1},
        {},
    )
    case(
        {"anyOf": [{"const": 1}, {"const": "one"}, {"enum": [True, None]}]},
        1,
        "one",
        True,
        None,
        False,
        2,
    )


def references():
    case({"$defs": {"n": {"type": "integer", "minimum": 1}}, "$ref": "#/$defs/n"}, 0, 1, 2, "x")
    case(
        {
            "definitions": {"s": {"enum": ["x", "y"]}},
            "type": "array",
            "items": {"$ref": "#/definitions/s"},
        },
        [],
        ["x"],
        ["x", "y"],
        ["z"],
    )
    case(
        {
            **obj({"a": {"$ref": "#/$defs/p"}, "b": {"$ref": "#/$defs/p"}}),
            "$defs": {"p": obj({"x": INT})},
        },
        {"a": {"x": 1}, "b": {"x": 2}},
        {"a": {"x": 1}, "b": {}},
        {"a": {"x": 1}},
    )
    case(
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": obj(
                    {"v": INT, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}
                )
            },
        },
        {"v": 1, "children": []},
        {"v": 1, "children": [{"v": 2, "children": [{"v": 3, "children": []}]}]},
        {"v": 1, "children": [{"v": "x", "children": []}]},
        {"v": 1},
    )
    case(
        obj({"value": INT, "next": {"anyOf": [{"$ref": "#"}, NULL]}}),
        {"value": 1, "next": None},
        {"value": 1, "next": {"value": 2, "next": None}},
        {"value": 1, "next": 2},
    )
    case(
        {
            "$ref": "#/$defs/e",
            "$defs": {"e": {"anyOf": [INT, {"type": "array", "items": {"$ref": "#/$defs/e"}}]}},
        },
        1,
        [],
        [1, [2, [3]]],
        [1, ["x"]],
        "x",
    )
    case(
        {
            "$defs": {"a": {"type": "string"}},
            "properties": {"v": {"$ref": "#/$defs/a", "minLength": 2}},
            "type": "object",
            "required": ["v"],
            "additionalProperties": False,
        },
        {"v": "ab"},
        {"v": "a"},
        {"v": 1},
    )
    case(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "array",
            "items": [INT, STR],
            "additionalItems": False,
        },
        [],
        [1],
        [1, "a"],
        ["a"],
        [1, "a", 2],
    )
    case(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"n": INT},
            "type": "object",
            "properties": {"n": {"$ref": "#/definitions/n"}},
        },
        {},
        {"n": 1},
        {"n": "x"},
    )


def tools():
    """As callers write them for functions that a model may call."""
    case(
        obj({"city": STR, "unit": {"enum": ["celsius", "fahrenheit"]}}, ["city"]),
        {"city": "Paris"},
        {"city": "Paris", "unit": "celsius"},
        {"unit": "celsius"},
        {"city": "Paris", "unit": "kelvin"},
    )
    case(
        obj({"name": {"const": "get_weather"}, "arguments": obj({"city": STR})}),
        {"name": "get_weather", "arguments": {"city": "Rome"}},
        {"name": "other", "arguments": {"city": "Rome"}},
        {"name": "get_weather", "arguments": {}},
    )
    case(
        {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "items": {
                "anyOf": [
                    obj({"name": {"const": "add"}, "arguments": obj({"a": NUM, "b": NUM})}),
                    obj({"name": {"const": "now"}, "arguments": obj({})}),
                ]
            },
        },
        [{"name": "add", "arguments": {"a": 1, "b": 2.5}}],
        [{"name": "now", "arguments": {}}, {"name": "now", "arguments": {}}],
        [],
        [{"name": "now", "arguments": {"a": 1}}],
        [{"name": "sub", "arguments": {}}],
    )
    case(
        obj(
            {
                "query": {"type": "string", "minLength": 1, "maxLength": 20},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50},
                "tags": {"type": "array", "items": STR, "maxItems": 3},
            },
            ["query"],
        ),
        {"query": "x"},
        {"query": "x", "limit": 50},
        {"query": "x", "limit": 51},
        {"query": "x", "tags": ["a", "b"]},
        {"query": "x", "tags": ["a", "b", "c", "d"]},
        {"query": ""},
        {"query": "x" * 21},
    )
    case(
        obj({"answer": STR, "confidence": {"type": "number", "minimum": 0, "maximum": 1}}),
        {"answer": "yes", "confidence": 0.5},
        {"answer": "yes", "confidence": 1},
        {"answer": "yes", "confidence": 1.5},
        {"answer": "yes"},
    )


def narrower():
    NARROWER.append((obj({"a": INT, "b": INT}), [{"b": 1, "a": 2}]))
    NARROWER.append((INT, ["1.0", "1e2"]))
    NARROWER.append(({}, ["[1,%s2]" % (" " * 65)]))
    NARROWER.append((STR, ['"\\u00e4"', '"\\/"']))


def texts_of(value):
    """As a model may write it."""
    yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, (list, dict)) and value:
        yield json.dumps(value, ensure_ascii=False)
        yield json.dumps(value, ensure_ascii=False, indent=2)


def main():
    for family in (
        types,
        numbers,
        strings,
        choices,
        arrays,
        objects,
        combinations,
        references,
        tools,
    ):
        family()
    narrower()
    checker = jsonschema.FormatChecker()
    cases = []
    for schema, values in CASES:
        validator = jsonschema.validators.validator_for(
            schema, default=jsonschema.Draft202012Validator
        )
        validator.check_schema(schema)
        validate = validator(schema, format_checker=checker)
        texts = {True: [], False: []}
        for value in values:
            for text in texts_of(value):
                valid = validate.is_valid(json.loads(text))
                if text not in texts[valid]:
                    texts[valid].append(text)
        cases.append({"schema": schema, "valid": texts[True], "invalid": texts[False]})
    narrow = []
    for schema, values in NARROWER:
        texts = [v if isinstance(v, str) else json.dumps(v) for v in values]
        for text in texts:
            jsonschema.validate(json.loads(text), schema)
        narrow.append({"schema": schema, "valid": texts})
    result = {
        "made_by": "make_json_schema_cases.py",
        "jsonschema": importlib.metadata.version("jsonschema"),
        "cases": cases,
        "narrower": narrow,
    }
    path = pathlib.Path(__file__).with_name("json_schema_cases.json")
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    narrow_lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in narrow)
    path.write_text(
        '{"made_by": %s, "jsonschema": %s, "cases": [\n%s\n], "narrower": [\n%s\n]}\n'
        % (json.dumps(result["made_by"]), json.dumps(result["jsonschema"]), lines, narrow_lines)
    )
    print(
        len(cases),
        "schemas,",
        sum(len(c["valid"]) for c in cases),
        "valid texts,",
        sum(len(c["invalid"]) for c in cases),
        "invalid ones",
    )


if __name__ == "__main__":
    main()
