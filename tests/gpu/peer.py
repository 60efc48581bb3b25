"""What PyTorch does with a network of Phi-4-mini's shape and random weights on one GPU.

Decode as transformers would with a static cache: scaled_dot_product_attention over a cache of fixed
length, the whole step in one CUDA graph, so that the host's time does not count. Prefill without a
graph. Prints tokens a second as //worker/bench does.
"""

import time

import torch
import torch.nn.functional as F

LAYERS, HIDDEN, HEADS, KV_HEADS, DIM, FFN, VOCAB = 32, 3072, 24, 8, 128, 8192, 200064


class Layer:
    def __init__(self):
        weight = lambda rows, cols: torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) * 0.02
        self.qkv = weight((HEADS + 2 * KV_HEADS) * DIM, HIDDEN)
        self.out = weight(HIDDEN, HEADS * DIM)
        self.gate_up = weight(2 * FFN, HIDDEN)
        self.down = weight(HIDDEN, FFN)
        self.norms = torch.ones(2, HIDDEN, device="cuda", dtype=torch.bfloat16)


def rotate(x, cos, sin):
    low, high = x[..., :48], x[..., 48:96]
    return torch.cat([low * cos - high * sin, high * cos + low * sin, x[..., 96:]], -1)


def forward(layers, head, x, cos, sin, caches, position, causal):
    """`x` is [batch, tokens, hidden]; writes keys and values from `position` on."""
    batch, tokens, _ = x.shape
    for layer, (keys, values) in zip(layers, caches):
        hidden = F.rms_norm(x, (HIDDEN,), layer.norms[0], 1e-5)
        q, k, v = F.linear(hidden, layer.qkv).split((HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM), -1)
        q = rotate(q.view(batch, tokens, HEADS, DIM).transpose(1, 2), cos, sin)
        k = rotate(k.view(batch, tokens, KV_HEADS, DIM).transpose(1, 2), cos, sin)
        keys[:, :, position : position + tokens] = k
        values[:, :, position : position + tokens] = v.view(batch, tokens, KV_HEADS, DIM).transpose(1, 2)
        attended = F.scaled_dot_product_attention(
            q,
            keys[:, :, : position + tokens],
            values[:, :, : position + tokens],
            is_causal=causal,
            enable_gqa=True,
        )
        x = x + F.linear(attended.transpose(1, 2).reshape(batch, tokens, -1), layer.out)
        hidden = F.rms_norm(x, (HIDDEN,), layer.norms[1], 1e-5)
        gate, up = F.linear(hidden, layer.gate_up).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, layer.down)
    return F.linear(x[:, -1], head).argmax(-1)


def new_caches(batch, length):
    shape = (batch, KV_HEADS, length, DIM)
    return [
        tuple(torch.zeros(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        for _ in range(LAYERS)
    ]


def seconds_of(run, repeats):
    run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def decode(layers, head, batch, context):
    caches = new_caches(batch, context)
    x = torch.randn(batch, 1, HIDDEN, device="cuda", dtype=torch.bfloat16)
    cos = sin = torch.ones(1, 48, device="cuda", dtype=torch.bfloat16)
    step = lambda: forward(layers, head, x, cos, sin, caches, context - 1, causal=False)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    seconds = seconds_of(graph.replay, 50)
    print(
        f"decode    batch {batch:4}  context {context:6}  {batch / seconds:9.1f} tok/s"
        f"  {seconds * 1e3:7.3f} ms a step",
        flush=True,
    )


def prefill(layers, head, tokens):
    caches = new_caches(1, tokens)
    x = torch.randn(1, tokens, HIDDEN, device="cuda", dtype=torch.bfloat16)
    cos = sin = torch.ones(tokens, 48, device="cuda", dtype=torch.bfloat16)
    seconds = seconds_of(lambda: forward(layers, head, x, cos, sin, caches, 0, causal=True), 3)
    print(
        f"prefill   prompt {tokens:6}             {tokens / seconds:9.1f} tok/s"
        f"  {seconds * 1e3:7.2f} ms to the first token",
        flush=True,
    )


@torch.inference_mode()
def main():
    torch.manual_seed(1)
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}, bfloat16, random weights")
    layers = [Layer() for _ in range(LAYERS)]
    head = torch.randn(VOCAB, HIDDEN, device="cuda", dtype=torch.bfloat16)
    for batch in (1, 8, 32, 128):
        decode(layers, head, batch, 1024)
    for tokens in (1024, 8192):
        prefill(layers, head, tokens)
    for batch in (1, 8, 32):
        decode(layers, head, batch, 8192)


if __name__ == "__main__":
    main()
