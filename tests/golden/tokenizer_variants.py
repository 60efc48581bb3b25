"""Tokenizers made of published ones and other added tokens, as tokenizer.json.

Usage: python3 tokenizer_variants.py phi4|rules TOKENIZER_JSON >VARIANT

  phi4   of o200k: with the added tokens of Phi-4-mini, whose own file is not on npm
  rules  of Qwen: with a token for each rule that added tokens can have
"""

import json
import sys

# Id, spelling, special, rstrip.
PHI4_TOKENS = [
    (199999, "<|endoftext|>", True, False),
    (200018, "<|endofprompt|>", True, False),
    (200019, "<|assistant|>", True, True),
    (200020, "<|end|>", True, True),
    (200021, "<|user|>", True, True),
    (200022, "<|system|>", True, True),
    (200023, "<|tool|>", False, True),
    (200024, "<|/tool|>", False, True),
    (200025, "<|tool_call|>", False, True),
    (200026, "<|/tool_call|>", False, True),
    (200027, "<|tool_response|>", False, True),
    (200028, "<|tag|>", True, True),
]

# Spelling and rules.
RULE_TOKENS = [
    ("<<left>>", {"lstrip": True}),
    ("<<right>>", {"rstrip": True}),
    ("<<both>>", {"lstrip": True, "rstrip": True}),
    ("<<word>>", {"single_word": True}),
    ("<<norm>>", {"normalized": True}),
    ("<<word-both>>", {"single_word": True, "lstrip": True, "rstrip": True, "normalized": True}),
    ("wörd", {"normalized": True}),
    ("naïve token", {"single_word": True}),
    ("zqx", {}),
    ("zqxj", {"single_word": True}),
    (" sp ", {"normalized": True}),
    ("Ⅷ", {"normalized": True, "single_word": True}),
]


def added(token_id, content, special, **rules):
    token = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": special}
    assert token.keys() >= rules.keys()
    return {**token, **rules}


def phi4(tokenizer):
    # Tokenizers takes the ids of added tokens from here, where they are not the next ones free.
    tokenizer["model"]["vocab"].update({content: token_id for token_id, content, _, _ in PHI4_TOKENS})
    tokenizer["added_tokens"] = [added(token_id, content, special, rstrip=rstrip)
                                 for token_id, content, special, rstrip in PHI4_TOKENS]


def rules(tokenizer):
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    tokenizer["added_tokens"] += [added(first + i, content, False, **rules)
                                  for i, (content, rules) in enumerate(RULE_TOKENS)]


def variant(kind, text):
    tokenizer = json.loads(text)
    {"phi4": phi4, "rules": rules}[kind](tokenizer)
    return json.dumps(tokenizer, ensure_ascii=False)


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as source:
        text = variant(sys.argv[1], source.read())
    sys.stdout.buffer.write(text.encode("utf-8"))
