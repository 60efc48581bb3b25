"""Writes smollm2_greedy.json: greedy answers of transformers in float32. See README.md.

Usage: python make_smollm2_greedy.py PATH_OF_SmolLM2-135M-Instruct.Q4_1.gguf
"""

import json
import os
import sys

import torch
import transformers

import smollm2_tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
NEW_TOKENS = 32


def user(text):
    return [{"role": "user", "content": text}]


CHATS = [
    user("What is the capital of France?"),
    user("Write a short story about a robot who learns to paint."),
    user("Write a Python function that returns the n-th Fibonacci number."),
    user("A train travels 60 km in 45 minutes. What is its average speed in km/h? Think step by step."),
    user("¿Cuál es la montaña más alta de España y dónde está?"),
    user("Explain what 🚀😀👍🏽 could mean in a chat message."),
    [{"role": "system", "content": "You are a pirate. Answer in one sentence."},
     {"role": "user", "content": "Who are you?"},
     {"role": "assistant", "content": "Arr, I be Captain Blackbeard!"},
     {"role": "user", "content": "Where is your treasure?"}],
    user("Translate to German: The weather is nice today, let's go for a walk."),
    user("List three differences between TCP and UDP.\n\n- Be brief.\n- Use bullet points."),
    user("Summarise: The mitochondrion is an organelle found in the cells of most eukaryotes. It generates "
         "most of the cell's supply of adenosine triphosphate, used as a source of chemical energy. The term "
         "was coined by Carl Benda in 1898. Mitochondria are commonly between 0.75 and 3 square micrometres "
         "in cross section, but vary considerably in size and structure."),
]


def greedy(model, prompt_ids):
    """Ids, the smallest gap between the best two logits, and the best five at the first step."""
    ids, margin, first = list(prompt_ids), float("inf"), None
    cache, step = None, torch.tensor([ids])
    for _ in range(NEW_TOKENS):
        out = model(step, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[0, -1]
        best = torch.topk(logits, 5)
        first = first or [[int(i), float(v)] for i, v in zip(best.indices, best.values)]
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        step = torch.tensor([ids[-1:]])
    return ids[len(prompt_ids):], margin, first


@torch.no_grad()
def main():
    path = os.path.abspath(sys.argv[1])
    versions = smollm2_tokenizer.require_versions(
        torch="2.13.0", transformers="5.23.0", tokenizers="0.23.3", gguf="0.19.0")
    fields = smollm2_tokenizer.read_fields(path)
    tokenizer = smollm2_tokenizer.build(fields, with_control_tokens=True)
    where = {"pretrained_model_name_or_path": os.path.dirname(path), "gguf_file": os.path.basename(path)}
    converter = transformers.AutoTokenizer.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()

    answers = []
    for messages in CHATS:
        rendered = converter.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt_ids = tokenizer.encode(rendered).ids
        new_ids, margin, first = greedy(model, prompt_ids)
        print(f"{margin:.4f}", len(prompt_ids), repr(tokenizer.decode(new_ids)))
        answers.append({"messages": messages, "rendered": rendered, "prompt_ids": prompt_ids,
                        "token_ids": new_ids, "text": tokenizer.decode(new_ids, skip_special_tokens=False),
                        "smallest_margin": margin, "first_logits": first})
    golden = {"versions": versions, "model_sha256": smollm2_tokenizer.sha256(path), "answers": answers}
    with open(os.path.join(HERE, "smollm2_greedy.json"), "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=True, indent=None, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
