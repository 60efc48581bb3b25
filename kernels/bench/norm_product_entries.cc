#include "kernels/bench/norm_product_entries.h"

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/bench/op_bench.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

constexpr DType kType = DType::kQ4_1;

// Runs multiply(layer, residual, norm_weight, normed, out) with kLayers layers in turn, made by
// `pack`, as in op_entries.cc. An output takes `output_flops`.
template <typename Pack, typename Multiply>
void Bench(benchmark::State& state, OpBench& f, int64_t outputs, double output_flops, Pack pack,
           Multiply multiply) {
  const int64_t rows = state.range(0);
  std::vector<decltype(pack())> layers;
  layers.reserve(kLayers);
  for (int i = 0; i < kLayers; ++i) layers.push_back(pack());
  const WorkspaceLimits limits = {.max_tokens = rows,
                                  .max_seqs = rows,
                                  .hidden = kHidden,
                                  .local_q_heads = kQHeads,
                                  .head_dim = kHeadDim,
                                  .local_ffn = kFfn,
                                  .local_vocab = kVocab};
  if (!f.backend->Reserve(limits).ok()) std::abort();
  Activations residual(f, rows, kHidden);
  Activations weight(f, 1, kHidden);
  Activations normed(f, rows, kHidden);
  Activations out(f, rows, outputs);
  for (auto _ : state) {
    for (const auto& layer : layers) {
      multiply(*layer, residual.tensor(), weight.tensor(), normed.tensor(), out.tensor());
    }
  }
  const double bytes = static_cast<double>(layers[0]->bytes()) + 4.0 * rows * (kHidden + outputs);
  const double flops = rows * (4.0 * kHidden + output_flops * outputs);
  Report(state, f.ceilings, kLayers * bytes, kLayers * flops);
}

void BenchNormLinear(benchmark::State& state, OpBench& f) {
  const RandomLinear linear(kType, kHidden, kQkv, 1);
  Bench(
      state, f, kQkv, 2.0 * kHidden, [&] { return *f.backend->PackLinear({linear.source()}); },
      [&](const PackedLinear& layer, Tensor residual, Tensor weight, Tensor normed, Tensor out) {
        f.backend->NormLinear(*f.stream, residual, weight, 1e-5f, normed, layer, {}, out);
      });
}

void BenchNormGatedLinear(benchmark::State& state, OpBench& f) {
  const RandomLinear gate(kType, kHidden, kFfn, 1);
  const RandomLinear up(kType, kHidden, kFfn, 2);
  Bench(
      state, f, kFfn, 4.0 * kHidden + kExponentialFlops,
      [&] { return *f.backend->PackGatedLinear(gate.source(), up.source()); },
      [&](const PackedGatedLinear& layer, Tensor residual, Tensor weight, Tensor normed,
          Tensor out) {
        f.backend->NormGatedLinear(*f.stream, residual, weight, 1e-5f, normed, layer, out);
      });
}

}  // namespace

std::vector<OpEntry> NormProductEntries() {
  return {{Op::kNormLinear, "NormLinear/qkv/Q4_1", {1, 8, 256}, BenchNormLinear},
          {Op::kNormGatedLinear, "NormGatedLinear/Q4_1", {1, 8, 256}, BenchNormGatedLinear}};
}

}  // namespace phalanx::kernels
