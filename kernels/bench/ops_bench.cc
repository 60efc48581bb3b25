// Every op of the CPU backend at the shapes of SmolLM2-135M, as bandwidth and arithmetic, each also
// in percent of what the same threads reach in the same run on plain reads and multiply-adds.
//
// Usage: ops_bench [--threads=N] [Google Benchmark's own flags]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "kernels/bench/ceilings.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kHidden = 576;
constexpr int64_t kFfn = 1536;
constexpr int64_t kVocab = 49152;
constexpr int kLayers = 30;
constexpr int kQHeads = 9;
constexpr int kKvHeads = 3;
constexpr int kHeadDim = 64;
constexpr int64_t kQkv = (kQHeads + 2 * kKvHeads) * kHeadDim;

struct Fixture {
  explicit Fixture(int num_threads)
      : ceilings(MeasureCeilings(num_threads)),
        backend(*MakeCpuBackend({.num_threads = num_threads})),
        stream(backend->NewStream()) {}

  const Ceilings ceilings;
  const std::unique_ptr<Backend> backend;
  const std::unique_ptr<Stream> stream;
};

class Activations {
 public:
  Activations(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), values_(RandomFloats(rows * cols, 1)) {}
  Tensor tensor() { return {values_.data(), DType::kF32, rows_, cols_}; }

 private:
  const int64_t rows_;
  const int64_t cols_;
  std::vector<float> values_;
};

// Adds what one iteration moved and computed to the report.
void Report(benchmark::State& state, const Ceilings& ceilings, double bytes, double flops) {
  using benchmark::Counter;
  const auto rate = Counter::kIsIterationInvariantRate;
  state.counters["GB/s"] = Counter(bytes * 1e-9, rate);
  state.counters["GFLOP/s"] = Counter(flops * 1e-9, rate);
  state.counters["%read"] = Counter(bytes * 1e-9 / ceilings.read_gb_per_s * 100, rate);
  state.counters["%fma"] = Counter(flops * 1e-9 / ceilings.fma_gflop_per_s * 100, rate);
}

// `copies` layers in turn, so that weights come from where they come from in a model.
void BenchLinear(benchmark::State& state, Fixture& f, DType dtype, int64_t in, int64_t out,
                 int copies) {
  const int64_t rows = state.range(0);
  const RandomLinear linear(dtype, in, out, 1);
  std::vector<std::unique_ptr<PackedLinear>> layers;
  for (int i = 0; i < copies; ++i) layers.push_back(*f.backend->PackLinear({linear.source()}));
  Activations x(rows, in);
  Activations y(rows, out);
  for (auto _ : state) {
    for (const auto& layer : layers) {
      f.backend->Linear(*f.stream, x.tensor(), *layer, {}, y.tensor());
    }
  }
  const double bytes = static_cast<double>(layers[0]->bytes()) + 4.0 * rows * (in + out);
  Report(state, f.ceilings, copies * bytes, 2.0 * copies * rows * in * out);
}

// All linear layers of one forward pass, logits for one row or, of a batch of decodes, for all.
void BenchAllLinears(benchmark::State& state, Fixture& f) {
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
      layers.push_back(
          *f.backend->PackLinear({RandomLinear(DType::kQ4_1, s.in, s.out, i).source()}));
    }
  }
  const auto table =
      *f.backend->PackLinear({RandomLinear(DType::kQ8_0, kHidden, kVocab, 1).source()});
  Activations x(rows, kFfn);
  Activations y(rows, 2 * kFfn);
  Activations logits(logit_rows, kVocab);
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
void BenchAttention(benchmark::State& state, Fixture& f, bool decode, int context) {
  const int rows = static_cast<int>(state.range(0));
  const int blocks_per_seq = (context + kKvBlockTokens - 1) / kKvBlockTokens;
  const int num_seqs = decode ? rows : 1;
  const auto cache = *f.backend->AllocateKvCache({.num_layers = 1,
                                                  .num_blocks = num_seqs * blocks_per_seq,
                                                  .num_kv_heads = kKvHeads,
                                                  .head_dim = kHeadDim});
  StepBuilder fill(blocks_per_seq);
  StepBuilder step(blocks_per_seq);
  double keys = 0;
  for (int s = 0; s < num_seqs; ++s) {
    std::vector<int32_t> blocks;
    for (int b = 0; b < blocks_per_seq; ++b) blocks.push_back(b * num_seqs + s);
    fill.Add(0, context, blocks);
    const int new_tokens = decode ? 1 : rows;
    step.Add(context - new_tokens, new_tokens, blocks);
    for (int i = 0; i < new_tokens; ++i) keys += context - i;
  }
  Activations cos_sin(int64_t{num_seqs} * context, kHeadDim);
  Activations qkv(int64_t{num_seqs} * context, kQkv);
  Activations out(rows, kQHeads * kHeadDim);
  f.backend->RopeAndWriteKv(*f.stream, fill.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(),
                            *cache, 0);
  for (auto _ : state) {
    f.backend->PagedAttention(*f.stream, step.batch(), qkv.tensor(), kQHeads, 0.125f, *cache, 0,
                              out.tensor());
  }
  const double read = decode ? keys : context;
  Report(state, f.ceilings, read * 2 * kKvHeads * kHeadDim * 4, keys * 4 * kQHeads * kHeadDim);
}

void BenchEmbed(benchmark::State& state, Fixture& f) {
  const int rows = static_cast<int>(state.range(0));
  const auto table =
      *f.backend->PackLinear({RandomLinear(DType::kQ8_0, kHidden, 4096, 1).source()});
  StepBuilder step(16);
  step.Add(0, rows, {});
  Activations out(rows, kHidden);
  for (auto _ : state) f.backend->Embed(*f.stream, step.batch(), *table, 0, out.tensor());
  Report(state, f.ceilings, rows * (RowBytes(DType::kQ8_0, kHidden) + 4.0 * kHidden),
         2.0 * rows * kHidden);
}

void BenchAddRmsNorm(benchmark::State& state, Fixture& f) {
  const int64_t rows = state.range(0);
  Activations residual(rows, kHidden);
  Activations delta(rows, kHidden);
  Activations out(rows, kHidden);
  Activations weight(1, kHidden);
  for (auto _ : state) {
    f.backend->AddRmsNorm(*f.stream, residual.tensor(), delta.tensor(), weight.tensor(), 1e-5f,
                          out.tensor());
  }
  Report(state, f.ceilings, 16.0 * rows * kHidden, 5.0 * rows * kHidden);
}

void BenchRope(benchmark::State& state, Fixture& f) {
  const int rows = static_cast<int>(state.range(0));
  const int blocks = (rows + kKvBlockTokens - 1) / kKvBlockTokens;
  const auto cache = *f.backend->AllocateKvCache(
      {.num_layers = 1, .num_blocks = blocks, .num_kv_heads = kKvHeads, .head_dim = kHeadDim});
  std::vector<int32_t> table(blocks);
  for (int b = 0; b < blocks; ++b) table[b] = b;
  StepBuilder step(blocks);
  step.Add(0, rows, table);
  Activations inv_freq(1, kHeadDim / 2);
  Activations cos_sin(rows, kHeadDim);
  Activations qkv(rows, kQkv);
  f.backend->RopeAngles(*f.stream, step.batch(), inv_freq.tensor(), 1.0f, cos_sin.tensor());
  for (auto _ : state) {
    f.backend->RopeAndWriteKv(*f.stream, step.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(),
                              *cache, 0);
  }
  const double turned = static_cast<double>(rows) * (kQHeads + kKvHeads) * kHeadDim;
  const double stored = 2.0 * rows * kKvHeads * kHeadDim;
  Report(state, f.ceilings, 4 * (2 * turned + 2 * stored), 3 * turned);
}

void BenchRopeAngles(benchmark::State& state, Fixture& f) {
  const int rows = static_cast<int>(state.range(0));
  StepBuilder step(1);
  step.Add(0, rows, {});
  Activations inv_freq(1, kHeadDim / 2);
  Activations cos_sin(rows, kHeadDim);
  for (auto _ : state) {
    f.backend->RopeAngles(*f.stream, step.batch(), inv_freq.tensor(), 1.0f, cos_sin.tensor());
  }
  Report(state, f.ceilings, 4.0 * rows * kHeadDim, 2.0 * rows * kHeadDim);
}

void BenchSiluMul(benchmark::State& state, Fixture& f) {
  const int64_t rows = state.range(0);
  Activations gate_up(rows, 2 * kFfn);
  Activations out(rows, kFfn);
  for (auto _ : state) f.backend->SiluMul(*f.stream, gate_up.tensor(), out.tensor());
  Report(state, f.ceilings, 12.0 * rows * kFfn, 20.0 * rows * kFfn);
}

void BenchSample(benchmark::State& state, Fixture& f, const SamplingRow& sampling) {
  const int rows = static_cast<int>(state.range(0));
  StepBuilder step(1);
  step.Add(0, rows, {});
  for (int i = 0; i < rows; ++i) step.WantLogits(i, sampling);
  Activations logits(rows, kVocab);
  std::vector<int32_t> tokens(rows);
  for (auto _ : state) f.backend->Sample(*f.stream, step.batch(), logits.tensor(), tokens.data());
  Report(state, f.ceilings, 4.0 * rows * kVocab, 0.0);
}

using Function = std::function<void(benchmark::State&, Fixture&)>;

void Register(const std::string& name, Fixture& fixture, Function function,
              std::vector<int64_t> rows) {
  auto* benchmark = benchmark::RegisterBenchmark(
      name.c_str(), [function, &fixture](benchmark::State& state) { function(state, fixture); });
  for (int64_t r : rows) benchmark->Arg(r);
  benchmark->Unit(benchmark::kMicrosecond)->UseRealTime();
}

void RegisterAll(Fixture& fixture) {
  const auto linear = [](DType dtype, int64_t in, int64_t out, int copies) -> Function {
    return [=](benchmark::State& s, Fixture& f) { BenchLinear(s, f, dtype, in, out, copies); };
  };
  const auto attention = [](bool decode, int context) -> Function {
    return [=](benchmark::State& s, Fixture& f) { BenchAttention(s, f, decode, context); };
  };
  const auto sample = [](SamplingRow row) -> Function {
    return [=](benchmark::State& s, Fixture& f) { BenchSample(s, f, row); };
  };
  const std::vector<int64_t> rows = {1, 8, 256};
  Register("AllLinears", fixture, BenchAllLinears, {1, 2, 4, 8, 16, 32, 256});
  Register("Linear/gate_up/Q4_1", fixture, linear(DType::kQ4_1, kHidden, 2 * kFfn, 30), rows);
  for (DType dtype : kAllDTypes) {
    if (!IsQuantized(dtype)) continue;
    Register(absl::StrCat("Linear/down/", DTypeName(dtype)), fixture,
             linear(dtype, kFfn, kHidden, 30), rows);
  }
  Register("Linear/logits/Q8_0", fixture, linear(DType::kQ8_0, kHidden, kVocab, 1), rows);
  Register("Linear/gate_up/F16", fixture, linear(DType::kF16, kHidden, 2 * kFfn, 15), rows);
  Register("Linear/gate_up/BF16", fixture, linear(DType::kBF16, kHidden, 2 * kFfn, 15), rows);
  Register("Linear/gate_up/F32", fixture, linear(DType::kF32, kHidden, 2 * kFfn, 8), rows);
  Register("Attention/decode/256", fixture, attention(true, 256), {1, 8});
  Register("Attention/decode/4096", fixture, attention(true, 4096), {1, 8});
  Register("Attention/prefill/256", fixture, attention(false, 256), {256});
  Register("Attention/prefill/2048", fixture, attention(false, 2048), {256});
  Register("Embed", fixture, BenchEmbed, rows);
  Register("AddRmsNorm", fixture, BenchAddRmsNorm, rows);
  Register("RopeAngles", fixture, BenchRopeAngles, rows);
  Register("RopeAndWriteKv", fixture, BenchRope, rows);
  Register("SiluMul", fixture, BenchSiluMul, rows);
  Register("Sample/greedy", fixture, sample({}), {1, 8});
  Register("Sample/temperature", fixture, sample({.temperature = 0.8f}), {1, 8});
  Register("Sample/top_p", fixture, sample({.temperature = 0.8f, .top_p = 0.9f}), {1, 8});
}

// Takes --threads=N out of the arguments; by default 2. Exits where N is no number of threads.
int TakeThreads(int& argc, char** argv) {
  int threads = 2;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "--threads=")) {
      argv[kept++] = argv[i];
    } else if (!absl::SimpleAtoi(argument, &threads) || threads < 1) {
      std::fprintf(stderr, "ops_bench: --threads wants a number from 1 on\n");
      std::exit(2);
    }
  }
  argc = kept;
  return threads;
}

int Main(int argc, char** argv) {
  Fixture fixture(TakeThreads(argc, argv));
  std::printf("%s; ceilings: %.1f GB/s read, %.1f GFLOP/s multiply-add\n",
              fixture.backend->Describe().c_str(), fixture.ceilings.read_gb_per_s,
              fixture.ceilings.fma_gflop_per_s);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  RegisterAll(fixture);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace phalanx::kernels

int main(int argc, char** argv) { return phalanx::kernels::Main(argc, argv); }
