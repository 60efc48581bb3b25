"""Writes chat_prefills.json: chats that continue their last message, and chats with template
arguments, as transformers renders them. See README.md.

Usage: python make_chat_prefills.py PATH_OF_SmolLM2-135M-Instruct.Q4_1.gguf FOLDER_OF_TEMPLATES

`tools/install test` fetches both, to models/ and templates/ of its cache.
"""

import json
import os
import sys

import jinja2
import tokenizers
import transformers
from transformers.utils import chat_template_utils

import make_chat_templates as chats
import smollm2_tokenizer
from make_chat_templates import assistant, system, user

HERE = os.path.dirname(os.path.abspath(__file__))

PREFILLS = [
    [user("Tell a story."), assistant("Once upon")],
    [user("Tell a story."), assistant("Once upon ")],
    [user("Tell a story."), assistant("  both \n\n")],
    [user("Wide?"), assistant("wide\u3000\u00a0")],
    [user("Hi"), assistant("")],
    [user("Hi"), assistant(" \n")],
    [system("Be terse."), user("JSON?"), assistant("{\"a\": [1,")],
    [user("a"), assistant("b"), user("c"), assistant("b")],
    [user("continue "), assistant("continue ")],
    [user("q"), assistant("<think>\nhm")],
    [user("q"), assistant("<think>\nhm\n</think>\n\nAnswer")],
    [user("q"), assistant("</think>x")],
    [user("q"), assistant("你好 😀 é")],
    [user("q"), assistant("x<|im_end|>\n<|eot_id|><|end|><｜end▁of▁sentence｜>")],
    [assistant("I begin.")],
]
# Each with the arguments.
ARGUMENTS = [
    ([user("Hi")], {"enable_thinking": False}),
    ([user("Hi")], {"enable_thinking": True}),
    ([user("Hi")], {"enable_thinking": None}),
    ([system("Be terse."), user("Hi")], {"date_string": "1 Jan 2030"}),
    ([user("Hi")], {"date_string": "<|eot_id|>2030", "unused": {"deep": [1, "x"]}}),
    ([user("Hi")], {}),
]
ARGUMENTS_WITH_TOOLS = [
    ([user("Hi")], {"tools_in_user_message": False}),
    ([user("Hi")], {"builtin_tools": ["brave_search", "code_interpreter"]}),
]
# Both at once.
BOTH = [([user("Hi"), assistant("He")], {"enable_thinking": False})]


def cases():
    entries = [(messages, [], True, None) for messages in PREFILLS]
    entries += [(messages, [chats.WEATHER], True, None) for messages in PREFILLS[:2]]
    entries += [(messages, [], False, arguments) for messages, arguments in ARGUMENTS]
    entries += [(messages, [chats.WEATHER], False, arguments) for messages, arguments in ARGUMENTS_WITH_TOOLS]
    entries += [(messages, [], True, arguments) for messages, arguments in BOTH]
    return [{"messages": messages, "functions": functions, "continue": goes_on,
             **({} if arguments is None else {"arguments": arguments})}
            for messages, functions, goes_on, arguments in entries]


def result(tokenizer, tools_input, case):
    if case["functions"] and tools_input == "none":
        return {"refused": "chat.tools"}
    messages, tools = case["messages"], None
    if case["functions"] and tools_input == "system message":
        messages = chats.in_system_message(messages, case["functions"])
    elif case["functions"]:
        tools = [chats.tool(function) for function in case["functions"]]
    try:
        return {"rendered": tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=not case["continue"],
            continue_final_message=case["continue"], **case.get("arguments", {}))}
    except ValueError as error:
        assert "does not appear" in str(error)
        return {"refused": "chat.continue_last_message"}
    except (jinja2.TemplateError, TypeError, AttributeError, KeyError) as error:
        raised = type(error) is jinja2.TemplateError
        return {"error": str(error) if raised else type(error).__name__, "raised": raised}


def entry(name, source, bos, eos, tools_input, _shows_calls, _control_tokens):
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), chat_template=source,
        bos_token=bos, eos_token=eos)
    for_tools_only = name.endswith("-tool_use.jinja")
    return {"name": name, "results": [
        {"unused": True} if for_tools_only and not case["functions"] else result(tokenizer, tools_input, case)
        for case in cases()]}


def main():
    versions = smollm2_tokenizer.require_versions(
        transformers="5.23.0", tokenizers="0.23.3", jinja2="3.1.6", gguf="0.19.0")
    chat_template_utils.datetime = chats.Clock
    templates = [entry(*source) for source in chats.sources(sys.argv[1], sys.argv[2])]
    golden = {"versions": versions, "cases": cases(), "templates": templates}
    results = [result for template in templates for result in template["results"]]
    print(len(templates), "templates:", *(f"{sum(kind in r for r in results)} {kind}" for kind in ("rendered", "refused", "error")))
    with open(os.path.join(HERE, "chat_prefills.json"), "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=True, indent=None, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
