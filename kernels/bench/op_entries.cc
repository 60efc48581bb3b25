#include "kernels/bench/op_entries.h"

#include <iterator>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "kernels/bench/norm_product_entries.h"
#include "kernels/bench/op_bench.h"
#include "kernels/bench/sampling_entries.h"
#include "kernels/bench/sharded_sampling_entries.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

void ReserveWorkspace(OpBench& bench, int64_t rows, int blocks_per_seq = 0) {
  const WorkspaceLimits limits = {.max_tokens = rows,
                                  .max_seqs = rows,
                                  .hidden = kHidden,
                                  .local_q_heads = kQHeads,
                                  .head_dim = kHeadDim,
                                  .local_ffn = kFfn,
                                  .local_vocab = kVocab,
                                  .max_blocks_per_seq = blocks_per_seq};
  if (!bench.backend->Reserve(limits).ok()) std::abort();
}

// Multiplies with `copies` layers in turn. In a model a layer's weights have left the cache before
// they are used again; with a single layer they would stay in it.
void BenchLinear(benchmark::State& state, OpBench& f, DType dtype, int64_t in, int64_t out,
                 int copies) {
  const int64_t rows = state.range(0);
  const RandomLinear linear(dtype, in, out, 1);
  ReserveWorkspace(f, rows);
  std::vector<std::unique_ptr<PackedLinear>> layers;
  layers.reserve(copies);
  for (int i = 0; i < copies; ++i) layers.push_back(*f.backend->PackLinear({linear.source()}));
  Activations x(f, rows, in);
  Activations y(f, rows, out);
  for (auto _ : state) {
    for (const auto& layer : layers) {
      f.backend->Linear(*f.stream, x.tensor(), *layer, {}, y.tensor());
    }
  }
  const double bytes = static_cast<double>(layers[0]->bytes()) + 4.0 * rows * (in + out);
  Report(state, f.ceilings, copies * bytes, 2.0 * copies * rows * in * out);
}

// As BenchLinear, and added to the residual.
void BenchLinearAdd(benchmark::State& state, OpBench& f, int64_t in, int copies) {
  const int64_t rows = state.range(0);
  const RandomLinear linear(DType::kQ4_1, in, kHidden, 1);
  std::vector<std::unique_ptr<PackedLinear>> layers;
  layers.reserve(copies);
  for (int i = 0; i < copies; ++i) layers.push_back(*f.backend->PackLinear({linear.source()}));
  ReserveWorkspace(f, rows);
  Activations x(f, rows, in);
  Activations residual(f, rows, kHidden);
  for (auto _ : state) {
    for (const auto& layer : layers) {
      f.backend->LinearAdd(*f.stream, x.tensor(), *layer, residual.tensor());
    }
  }
  const double bytes = static_cast<double>(layers[0]->bytes()) + 4.0 * rows * (in + 2 * kHidden);
  Report(state, f.ceilings, copies * bytes, copies * rows * kHidden * (2.0 * in + 1));
}

void BenchGatedLinear(benchmark::State& state, OpBench& f, DType dtype, int copies) {
  const int64_t rows = state.range(0);
  const RandomLinear gate(dtype, kHidden, kFfn, 1);
  const RandomLinear up(dtype, kHidden, kFfn, 2);
  std::vector<std::unique_ptr<PackedGatedLinear>> layers;
  layers.reserve(copies);
  for (int i = 0; i < copies; ++i) {
    layers.push_back(*f.backend->PackGatedLinear(gate.source(), up.source()));
  }
  ReserveWorkspace(f, rows);
  Activations x(f, rows, kHidden);
  Activations out(f, rows, kFfn);
  for (auto _ : state) {
    for (const auto& layer : layers) {
      f.backend->GatedLinear(*f.stream, x.tensor(), *layer, out.tensor());
    }
  }
  const double bytes = static_cast<double>(layers[0]->bytes()) + 4.0 * rows * (kHidden + kFfn);
  const double flops = 4.0 * kHidden + kExponentialFlops;
  Report(state, f.ceilings, copies * bytes, flops * static_cast<double>(copies * rows * kFfn));
}

// All linear layers of one forward pass. A batch of up to 64 rows is taken for decodes, which need
// logits for each row; more rows are a prompt, which needs those of one.
void BenchAllLinears(benchmark::State& state, OpBench& f, DType dtype, DType table_dtype) {
  const int64_t rows = state.range(0);
  const int64_t logit_rows = rows > 64 ? 1 : rows;
  struct Shape {
    int64_t in;
    int64_t out;
  };
  std::vector<std::unique_ptr<PackedLinear>> layers;
  for (int i = 0; i < kLayers; ++i) {
    for (const Shape s : {Shape{kHidden, kQkv}, Shape{kHidden, kHidden}, Shape{kHidden, 2 * kFfn},
                          Shape{kFfn, kHidden}}) {
      layers.push_back(*f.backend->PackLinear({RandomLinear(dtype, s.in, s.out, i).source()}));
    }
  }
  const auto table =
      *f.backend->PackLinear({RandomLinear(table_dtype, kHidden, kVocab, 1).source()});
  ReserveWorkspace(f, rows);
  Activations x(f, rows, kFfn);
  Activations y(f, rows, 2 * kFfn);
  Activations logits(f, logit_rows, kVocab);
  double bytes = static_cast<double>(table->bytes());
  double flops = 2.0 * static_cast<double>(logit_rows) * kHidden * kVocab;
  for (const auto& layer : layers) {
    bytes += static_cast<double>(layer->bytes());
    flops += 2.0 * static_cast<double>(rows * layer->in_features() * layer->out_features());
  }
  const auto cut = [](Tensor t, int64_t cols) { return Tensor{t.data, t.dtype, t.rows, cols}; };
  for (auto _ : state) {
    for (const auto& layer : layers) {
      f.backend->Linear(*f.stream, cut(x.tensor(), layer->in_features()), *layer, {},
                        cut(y.tensor(), layer->out_features()));
    }
    Tensor last = cut(x.tensor(), kHidden);
    last.rows = logit_rows;
    f.backend->Linear(*f.stream, last, *table, {}, logits.tensor());
  }
  Report(state, f.ceilings, bytes, flops);
}

// Attention of `rows` tokens: decodes of as many sequences with `context` tokens each, or the last
// `rows` tokens of one prompt.
void BenchAttention(benchmark::State& state, OpBench& f, Op op, bool decode, int context) {
  const int rows = static_cast<int>(state.range(0));
  const int blocks_per_seq = (context + kKvBlockTokens - 1) / kKvBlockTokens;
  const int num_seqs = decode ? rows : 1;
  ReserveWorkspace(f, rows, blocks_per_seq);
  const auto cache = *f.backend->AllocateKvCache({.num_layers = 1,
                                                  .num_blocks = num_seqs * blocks_per_seq,
                                                  .num_kv_heads = kKvHeads,
                                                  .head_dim = kHeadDim,
                                                  .dtype = f.backend->kv_cache_dtype()});
  StepBuilder fill(blocks_per_seq);
  StepBuilder step(blocks_per_seq);
  double keys = 0;
  for (int s = 0; s < num_seqs; ++s) {
    std::vector<int32_t> blocks(blocks_per_seq);
    for (int b = 0; b < blocks_per_seq; ++b) blocks[b] = b * num_seqs + s;
    fill.Add(0, context, blocks);
    const int new_tokens = decode ? 1 : rows;
    step.Add(context - new_tokens, new_tokens, blocks);
    for (int i = 0; i < new_tokens; ++i) keys += context - i;
  }
  Activations cos_sin(f, int64_t{num_seqs} * context, kHeadDim);
  Activations qkv(f, int64_t{num_seqs} * context, kQkv);
  Activations out(f, rows, kQHeads * kHeadDim);
  f.backend->RopeAndWriteKv(*f.stream, fill.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(),
                            *cache, 0);
  for (auto _ : state) {
    if (op == Op::kRopeAttention) {
      f.backend->RopeAttention(*f.stream, step.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(),
                               0.125f, *cache, 0, out.tensor());
    } else {
      f.backend->PagedAttention(*f.stream, step.batch(), qkv.tensor(), kQHeads, 0.125f, *cache, 0,
                                out.tensor());
    }
  }
  // Rows of one prompt share its keys and values, decodes have their own.
  const double read = decode ? keys : context;
  const auto element = static_cast<double>(KvElementBytes(f.backend->kv_cache_dtype()));
  Report(state, f.ceilings, read * 2 * kKvHeads * kHeadDim * element,
         keys * 4 * kQHeads * kHeadDim);
}

void BenchEmbed(benchmark::State& state, OpBench& f) {
  const int rows = static_cast<int>(state.range(0));
  const auto table =
      *f.backend->PackLinear({RandomLinear(DType::kQ8_0, kHidden, 4096, 1).source()});
  StepBuilder step(16);
  step.Add(0, rows, {});
  Activations out(f, rows, kHidden);
  for (auto _ : state) f.backend->Embed(*f.stream, step.batch(), *table, 0, out.tensor());
  Report(state, f.ceilings, rows * (RowBytes(DType::kQ8_0, kHidden) + 4.0 * kHidden),
         2.0 * rows * kHidden);
}

void BenchRmsNorm(benchmark::State& state, OpBench& f) {
  const int64_t rows = state.range(0);
  Activations x(f, rows, kHidden);
  Activations out(f, rows, kHidden);
  Activations weight(f, 1, kHidden);
  for (auto _ : state) {
    f.backend->RmsNorm(*f.stream, x.tensor(), weight.tensor(), 1e-5f, out.tensor());
  }
  Report(state, f.ceilings, 8.0 * rows * kHidden, 4.0 * rows * kHidden);
}

void BenchAddRmsNorm(benchmark::State& state, OpBench& f) {
  const int64_t rows = state.range(0);
  Activations residual(f, rows, kHidden);
  Activations delta(f, rows, kHidden);
  Activations out(f, rows, kHidden);
  Activations weight(f, 1, kHidden);
  for (auto _ : state) {
    f.backend->AddRmsNorm(*f.stream, residual.tensor(), delta.tensor(), weight.tensor(), 1e-5f,
                          out.tensor());
  }
  Report(state, f.ceilings, 16.0 * rows * kHidden, 5.0 * rows * kHidden);
}

void BenchRope(benchmark::State& state, OpBench& f) {
  const int rows = static_cast<int>(state.range(0));
  const int blocks = (rows + kKvBlockTokens - 1) / kKvBlockTokens;
  const auto cache = *f.backend->AllocateKvCache(
      {.num_layers = 1, .num_blocks = blocks, .num_kv_heads = kKvHeads, .head_dim = kHeadDim});
  std::vector<int32_t> table(blocks);
  for (int b = 0; b < blocks; ++b) table[b] = b;
  StepBuilder step(blocks);
  step.Add(0, rows, table);
  Activations inv_freq(f, 1, kHeadDim / 2);
  Activations cos_sin(f, rows, kHeadDim);
  Activations qkv(f, rows, kQkv);
  f.backend->RopeAngles(*f.stream, step.batch(), inv_freq.tensor(), 1.0f, cos_sin.tensor());
  for (auto _ : state) {
    f.backend->RopeAndWriteKv(*f.stream, step.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(),
                              *cache, 0);
  }
  const double turned = static_cast<double>(rows) * (kQHeads + kKvHeads) * kHeadDim;
  const double stored = 2.0 * rows * kKvHeads * kHeadDim;
  Report(state, f.ceilings, 4 * (2 * turned + 2 * stored), 3 * turned);
}

void BenchRopeAngles(benchmark::State& state, OpBench& f) {
  const int rows = static_cast<int>(state.range(0));
  StepBuilder step(1);
  step.Add(0, rows, {});
  Activations inv_freq(f, 1, kHeadDim / 2);
  Activations cos_sin(f, rows, kHeadDim);
  for (auto _ : state) {
    f.backend->RopeAngles(*f.stream, step.batch(), inv_freq.tensor(), 1.0f, cos_sin.tensor());
  }
  Report(state, f.ceilings, 4.0 * rows * kHeadDim, 2.0 * rows * kHeadDim);
}

// Every other token's row: half as many as there are tokens, at least one.
void BenchGatherRows(benchmark::State& state, OpBench& f) {
  const int64_t tokens = state.range(0);
  std::vector<int32_t> rows;
  for (int t = 0; t < tokens; t += 2) rows.push_back(t);
  const auto num_rows = static_cast<int64_t>(rows.size());
  Activations x(f, tokens, kHidden);
  Activations out(f, num_rows, kHidden);
  for (auto _ : state) f.backend->GatherRows(*f.stream, rows.data(), x.tensor(), out.tensor());
  Report(state, f.ceilings, 8.0 * num_rows * kHidden, 0.0);
}

void BenchUpdateBlockTables(benchmark::State& state, OpBench& f) {
  constexpr int kBlocks = 64;
  std::vector<TableEntry> entries(state.range(0));
  for (size_t i = 0; i < entries.size(); ++i) entries[i].slot = static_cast<int32_t>(i);
  std::vector<int32_t> tables(entries.size() * kBlocks);
  StepBatch batch;
  batch.num_table_entries = static_cast<int32_t>(entries.size());
  batch.table_entries = entries.data();
  batch.max_blocks_per_seq = kBlocks;
  batch.block_tables = tables.data();
  for (auto _ : state) f.backend->UpdateBlockTables(*f.stream, batch);
  Report(state, f.ceilings, 16.0 * static_cast<double>(entries.size()), 0.0);
}

void BenchStoreLastTokens(benchmark::State& state, OpBench& f) {
  std::vector<int32_t> slots(state.range(0));
  std::iota(slots.begin(), slots.end(), 0);
  const std::vector<int32_t> tokens(slots.size());
  std::vector<int32_t> last_tokens(slots.size());
  SamplingBatch batch;
  batch.num_logit_rows = static_cast<int32_t>(slots.size());
  batch.logit_slots = slots.data();
  for (auto _ : state) {
    f.backend->StoreLastTokens(*f.stream, batch, tokens.data(), last_tokens.data());
  }
  Report(state, f.ceilings, 12.0 * static_cast<double>(slots.size()), 0.0);
}

}  // namespace

std::vector<OpEntry> AllOpEntries() {
  using Run = std::function<void(benchmark::State&, OpBench&)>;
  const auto linear = [](DType dtype, int64_t in, int64_t out, int copies) -> Run {
    return [=](benchmark::State& s, OpBench& f) { BenchLinear(s, f, dtype, in, out, copies); };
  };
  const auto linear_add = [](int64_t in) -> Run {
    return [=](benchmark::State& s, OpBench& f) { BenchLinearAdd(s, f, in, kLayers); };
  };
  const auto gated = [](DType dtype, int copies) -> Run {
    return [=](benchmark::State& s, OpBench& f) { BenchGatedLinear(s, f, dtype, copies); };
  };
  const auto all_linears = [](DType dtype, DType table) -> Run {
    return [=](benchmark::State& s, OpBench& f) { BenchAllLinears(s, f, dtype, table); };
  };
  const auto attention = [](bool decode, int context, Op op = Op::kPagedAttention) -> Run {
    return [=](benchmark::State& s, OpBench& f) { BenchAttention(s, f, op, decode, context); };
  };
  const std::vector<int64_t> rows = {1, 8, 256};
  const std::vector<int64_t> decodes = {1, 8};
  const std::vector<int64_t> steps = {1, 2, 4, 8, 16, 32, 256};
  std::vector<OpEntry> entries = {
      {Op::kLinear, "Linear/all_of_a_step", steps, all_linears(DType::kQ4_1, DType::kQ8_0)},
      {Op::kLinear, "Linear/all_of_a_step_of_BF16", steps, all_linears(DType::kBF16, DType::kBF16)},
      {Op::kLinear, "Linear/gate_up/Q4_1", rows, linear(DType::kQ4_1, kHidden, 2 * kFfn, 30)}};
  for (DType dtype : kAllDTypes) {
    if (!IsQuantized(dtype)) continue;
    entries.push_back({Op::kLinear, absl::StrCat("Linear/down/", DTypeName(dtype)), rows,
                       linear(dtype, kFfn, kHidden, 30)});
  }
  const OpEntry others[] = {
      {Op::kLinear, "Linear/logits/Q8_0", rows, linear(DType::kQ8_0, kHidden, kVocab, 1)},
      {Op::kLinear, "Linear/gate_up/F16", rows, linear(DType::kF16, kHidden, 2 * kFfn, 15)},
      {Op::kLinear, "Linear/gate_up/BF16", rows, linear(DType::kBF16, kHidden, 2 * kFfn, 15)},
      {Op::kLinear, "Linear/gate_up/F32", rows, linear(DType::kF32, kHidden, 2 * kFfn, 8)},
      {Op::kLinearAdd, "LinearAdd/attention_out/Q4_1", rows, linear_add(kHidden)},
      {Op::kLinearAdd, "LinearAdd/down/Q4_1", rows, linear_add(kFfn)},
      {Op::kGatedLinear, "GatedLinear/Q4_1", rows, gated(DType::kQ4_1, 30)},
      {Op::kGatedLinear, "GatedLinear/F16", rows, gated(DType::kF16, 15)},
      {Op::kPagedAttention, "PagedAttention/decode/256", decodes, attention(true, 256)},
      {Op::kPagedAttention, "PagedAttention/decode/4096", decodes, attention(true, 4096)},
      {Op::kPagedAttention, "PagedAttention/prefill/256", {256}, attention(false, 256)},
      {Op::kPagedAttention, "PagedAttention/prefill/2048", {256}, attention(false, 2048)},
      {Op::kPagedAttention, "PagedAttention/prefill/16384", {256}, attention(false, 16384)},
      {Op::kRopeAttention, "RopeAttention/decode/256", decodes,
       attention(true, 256, Op::kRopeAttention)},
      {Op::kEmbed, "Embed", rows, BenchEmbed},
      {Op::kRmsNorm, "RmsNorm", rows, BenchRmsNorm},
      {Op::kAddRmsNorm, "AddRmsNorm", rows, BenchAddRmsNorm},
      {Op::kRopeAngles, "RopeAngles", rows, BenchRopeAngles},
      {Op::kRopeAndWriteKv, "RopeAndWriteKv", rows, BenchRope},
      {Op::kUpdateBlockTables, "UpdateBlockTables", decodes, BenchUpdateBlockTables},
      {Op::kGatherRows, "GatherRows", rows, BenchGatherRows},
      {Op::kStoreLastTokens, "StoreLastTokens", decodes, BenchStoreLastTokens}};
  entries.insert(entries.end(), std::begin(others), std::end(others));
  for (const std::vector<OpEntry>& more :
       {NormProductEntries(), SamplingEntries(), ShardedSamplingEntries()}) {
    entries.insert(entries.end(), more.begin(), more.end());
  }
  return entries;
}

benchmark::internal::Benchmark* RegisterOpEntry(const OpEntry& entry, OpBench& bench) {
  auto* const benchmark = benchmark::RegisterBenchmark(
      entry.name.c_str(),
      [run = entry.run, &bench](benchmark::State& state) { run(state, bench); });
  for (const int64_t rows : entry.rows) benchmark->Arg(rows);
  return benchmark->Unit(benchmark::kMicrosecond)->UseRealTime();
}

}  // namespace phalanx::kernels
