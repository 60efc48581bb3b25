"""Writes tiny_models/: small random models of every architecture, and what transformers makes of them.

Usage: python make_tiny_models.py. See README.md.
"""

import json
import os
import shutil

import torch
import transformers
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tiny_models")
VERSIONS = {"torch": "2.13.0", "transformers": "5.23.0"}

COMMON = dict(num_hidden_layers=2, vocab_size=97, max_position_embeddings=512, rms_norm_eps=1e-5,
              bos_token_id=0, eos_token_id=1, pad_token_id=0)


def longrope(pairs, original, seed):
    """Factor lists that differ at every pair."""
    draw = torch.Generator().manual_seed(seed)
    short = (1 + 0.2 * torch.rand(pairs, generator=draw)).tolist()
    long = (1 + 7 * torch.rand(pairs, generator=draw)).tolist()
    return dict(
        original_max_position_embeddings=original,
        rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=short,
                             long_factor=long, original_max_position_embeddings=original))


# name: (class, config, dtype of the file)
MODELS = {
    "llama_scaled": (LlamaForCausalLM, LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        tie_word_embeddings=False,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64),
        **COMMON), torch.float32),
    "llama_tied": (LlamaForCausalLM, LlamaConfig(
        hidden_size=36, num_attention_heads=6, num_key_value_heads=3, head_dim=16,
        intermediate_size=96, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=100000.0), **COMMON), torch.float32),
    "llama_bf16": (LlamaForCausalLM, LlamaConfig(
        hidden_size=64, num_attention_heads=8, num_key_value_heads=4, intermediate_size=128,
        tie_word_embeddings=False,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0), **COMMON),
        torch.bfloat16),
    "qwen2_tied": (Qwen2ForCausalLM, Qwen2Config(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        tie_word_embeddings=True, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON), torch.float32),
    "qwen2_untied": (Qwen2ForCausalLM, Qwen2Config(
        hidden_size=48, num_attention_heads=6, num_key_value_heads=3, intermediate_size=96,
        tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0), **COMMON), torch.float32),
    "qwen2_bf16": (Qwen2ForCausalLM, Qwen2Config(
        hidden_size=64, num_attention_heads=8, num_key_value_heads=4, intermediate_size=128,
        tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON), torch.bfloat16),
    "phi3_tied": (Phi3ForCausalLM, Phi3Config(
        hidden_size=48, num_attention_heads=6, num_key_value_heads=2, intermediate_size=96,
        tie_word_embeddings=True, partial_rotary_factor=0.75, **longrope(3, 16, 1), **COMMON),
        torch.float32),
    "phi3_untied": (Phi3ForCausalLM, Phi3Config(
        hidden_size=48, num_attention_heads=3, num_key_value_heads=3, intermediate_size=96,
        tie_word_embeddings=False, partial_rotary_factor=0.5, **longrope(4, 24, 2), **COMMON),
        torch.float32),
    "phi3_bf16": (Phi3ForCausalLM, Phi3Config(
        hidden_size=64, num_attention_heads=8, num_key_value_heads=4, intermediate_size=128,
        tie_word_embeddings=True, partial_rotary_factor=1.0, **longrope(4, 16, 3), **COMMON),
        torch.bfloat16),
}
# Before, at and after the borders above; the second half of the last lies behind llama_scaled's.
PROMPT_LENGTHS = [7, 16, 17, 24, 25, 80]
NEW_TOKENS = 24
# Far above the error of float32, so that greedy tokens may be demanded to be equal.
LEAST_MARGIN = 1e-3


def randomize(model):
    """Weights under which every part of the network moves the logits."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0, 0.5)
        elif parameter.dim() == 1:
            parameter.normal_(1, 0.2)
        elif "embed_tokens" in name:
            parameter.normal_(0, 0.3)
        else:
            parameter.normal_(0, 1.5 / parameter.shape[1] ** 0.5)


def continuation(model, prompt):
    """Greedy tokens of generate, and the least gap between the best two logits on the way."""
    ids = torch.tensor([prompt])
    # Without a mask, tokens that are pad_token_id would be left out.
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS,
                         do_sample=False, eos_token_id=[], return_dict_in_generate=True,
                         output_logits=True)
    best = torch.topk(torch.cat(out.logits), 2).values
    return out.sequences[0, len(prompt):].tolist(), float((best[:, 0] - best[:, 1]).min())


def make(name, model_class, config, dtype, seed):
    folder = os.path.join(OUT, name)
    torch.manual_seed(seed)
    model = model_class(config)
    randomize(model)
    model.to(dtype).save_pretrained(folder)
    os.remove(os.path.join(folder, "generation_config.json"))

    load = dict(attn_implementation="eager")
    exact = model_class.from_pretrained(folder, dtype=torch.float32, **load).eval()
    rounded = model_class.from_pretrained(folder, dtype=torch.bfloat16, **load).eval()
    draw = torch.Generator().manual_seed(seed)
    prompts, tensors, answers = [], {}, []
    for i, length in enumerate(PROMPT_LENGTHS):
        prompt = torch.randint(0, config.vocab_size, (length,), generator=draw).tolist()
        prompts.append(prompt)
        tensors[f"logits.{i}"] = exact(torch.tensor([prompt])).logits[0].contiguous()
        if dtype == torch.bfloat16:
            tensors[f"bf16_logits.{i}"] = rounded(torch.tensor([prompt])).logits[0].contiguous()
        tokens, margin = continuation(exact, prompt)
        answers.append({"token_ids": tokens, "smallest_margin": margin})
    save_file(tensors, os.path.join(OUT, name + ".logits.safetensors"))
    return {"dtype": str(dtype).removeprefix("torch."), "prompts": prompts, "answers": answers}


@torch.no_grad()
def main():
    for package, version in VERSIONS.items():
        have = globals()[package].__version__.split("+")[0]
        assert have == version, f"{package} {have} is not {version}"
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    models = {}
    for seed, (name, what) in enumerate(MODELS.items()):
        margin = 0
        while margin < LEAST_MARGIN:
            models[name] = make(name, *what, seed)
            margin = min(answer["smallest_margin"] for answer in models[name]["answers"])
            print(name, "seed", seed, "margin", margin)
            seed += len(MODELS)
    with open(os.path.join(OUT, "models.json"), "w") as file:
        json.dump({"versions": VERSIONS, "models": models}, file)
        file.write("\n")


if __name__ == "__main__":
    main()
