// How fast the engine decodes and takes in prompts on a GPU, with random weights in the shape of a
// real model: what is measured is a model's speed, not its answers. The whole engine runs, with its
// scheduler, sampler and two steps in flight; only the network around it is left out.
//
// Prints a line for each case as soon as it is measured.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/testing/random_linear.h"
#include "model/sharding/shard.h"
#include "prometheus/registry.h"
#include "worker/engine/engine.h"
#include "worker/group/step_runner.h"
#include "worker/model/activations.h"
#include "worker/model/decoder.h"

namespace phalanx {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  bool tiny = false;
  std::string weights = "bf16";
  std::string kv_cache_dtype = "bf16";
  std::string determinism = "strict";
  int saturated_seconds = 20;
  bool decode_only = false;
};

ModelSpec PhiFourMini() {
  ModelSpec spec;
  spec.name = "Phi-4-mini's shape";
  spec.architecture = "phi3";
  spec.num_layers = 32;
  spec.hidden = 3072;
  spec.num_q_heads = 24;
  spec.num_kv_heads = 8;
  spec.head_dim = 128;
  spec.rotary_dim = 96;
  spec.ffn = 8192;
  spec.vocab = 200064;
  spec.context_tokens = 16384;
  spec.rms_norm_eps = 1e-5f;
  spec.tied_embeddings = true;
  return spec;
}

ModelSpec Tiny() {
  ModelSpec spec = PhiFourMini();
  spec.name = "a tiny shape";
  spec.num_layers = 2;
  spec.hidden = 96;
  spec.num_q_heads = 3;
  spec.num_kv_heads = 1;
  spec.head_dim = 64;
  spec.rotary_dim = 48;
  spec.ffn = 128;
  spec.vocab = 512;
  spec.context_tokens = 256;
  return spec;
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  CHECK(value.ok()) << value.status().ToString();
  return *std::move(value);
}

// Matrices of random weights; rows are taken from a few random ones over and over.
class RandomWeights {
 public:
  RandomWeights(kernels::DType dtype, kernels::Backend* backend)
      : dtype_(dtype), backend_(*backend), stream_(backend->NewStream()) {}

  DecoderWeights Make(const ModelSpec& spec) {
    DecoderWeights weights;
    weights.embedding = Linear(spec.hidden, spec.vocab);
    weights.final_norm = Norm(spec.hidden);
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      LayerWeights w;
      w.attention_norm = Norm(spec.hidden);
      w.ffn_norm = Norm(spec.hidden);
      const int q = spec.num_q_heads * spec.head_dim;
      w.qkv = Linear(spec.hidden, q + 2 * spec.num_kv_heads * spec.head_dim);
      w.attention_out = Linear(q, spec.hidden);
      w.gate_up = OrDie(
          backend_.PackGatedLinear(Source(spec.hidden, spec.ffn), Source(spec.hidden, spec.ffn)));
      w.down = Linear(spec.ffn, spec.hidden);
      bytes_ += w.gate_up->bytes();
      weights.layers.push_back(std::move(w));
    }
    weights.bytes = bytes_;
    return weights;
  }

 private:
  std::unique_ptr<kernels::Buffer> Norm(int size) {
    const std::vector<float> ones(size, 1.0f);
    auto buffer = OrDie(backend_.Allocate(size * sizeof(float)));
    backend_.CopyToBackend(*stream_, buffer->data(), ones.data(), size * sizeof(float));
    CHECK(stream_->Synchronize().ok());
    return buffer;
  }

  std::unique_ptr<kernels::PackedLinear> Linear(int inputs, int outputs) {
    auto linear = OrDie(backend_.PackLinear({Source(inputs, outputs)}));
    bytes_ += linear->bytes();
    return linear;
  }

  kernels::LinearSource Source(int inputs, int outputs) {
    constexpr int kRandomRows = 64;
    matrices_.push_back(std::make_unique<kernels::RandomLinear>(
        dtype_, inputs, kRandomRows, static_cast<int>(matrices_.size()) + 1));
    rows_.emplace_back();
    const kernels::LinearSource random = matrices_.back()->source();
    for (int row = 0; row < outputs; ++row) rows_.back().push_back(random.rows[row % kRandomRows]);
    return {.dtype = dtype_, .in_features = inputs, .rows = rows_.back()};
  }

  const kernels::DType dtype_;
  kernels::Backend& backend_;
  const std::unique_ptr<kernels::Stream> stream_;
  size_t bytes_ = 0;
  std::vector<std::unique_ptr<kernels::RandomLinear>> matrices_;
  std::deque<std::vector<const std::byte*>> rows_;
};

class DecoderExecutor final : public StepExecutor {
 public:
  explicit DecoderExecutor(Decoder* decoder)
      : runner_({.launch = [decoder](const Step& step) { return decoder->Launch(step); },
                 .await = [decoder] { return decoder->Await(); },
                 .launches_ahead = [decoder] { return decoder->launches_ahead(); }}) {}

  int max_in_flight() const override { return Decoder::kMaxInFlight; }
  absl::Status Submit(Step step) override {
    runner_.Submit(std::move(step));
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await() override { return runner_.Await(); }

 private:
  StepRunner runner_;
};

// Counts tokens and ends.
class CountingSink final : public EventSink {
 public:
  void OnStep(absl::Span<const RequestEvent> events, const EngineLoad&) override {
    for (const RequestEvent& event : events) {
      // What is left at the end fails.
      CHECK(event.error.ok() || ending_) << event.error.ToString();
      tokens_ += static_cast<int64_t>(event.token_ids.size());
      if (event.finished.has_value()) ++ended_;
    }
  }
  void OnEngineEnded(const absl::Status&) override {}

  // To be called before the engine is stopped.
  void set_ending() { ending_ = true; }

  int64_t tokens() const { return tokens_; }
  int ended() const { return ended_; }

 private:
  int64_t tokens_ = 0;
  int ended_ = 0;
  bool ending_ = false;
};

class Bench {
 public:
  Bench(const Options& options, const ModelSpec& spec, const StepLimits& limits)
      : options_(options), spec_(spec), limits_(limits) {
    using kernels::DType;
    const DType dtype = options.weights == "q8_0"   ? DType::kQ8_0
                        : options.weights == "q4_0" ? DType::kQ4_0
                                                    : DType::kBF16;
    const kernels::KvDType kv_cache = options.kv_cache_dtype == "int8"  ? kernels::KvDType::kInt8
                                      : options.kv_cache_dtype == "fp8" ? kernels::KvDType::kFp8
                                                                        : kernels::KvDType::kBF16;
    backend_ = OrDie(kernels::MakeCudaBackend({.kv_cache = kv_cache,
                                               .determinism = options.determinism == "fast"
                                                                  ? kernels::Determinism::kFast
                                                                  : kernels::Determinism::kStrict,
                                               .loading_threads = 8}));
    DecoderWeights weights = RandomWeights(dtype, backend_.get()).Make(spec);
    weight_bytes_ = static_cast<double>(weights.bytes);
    const Shard shard = OrDie(ShardModel(spec, 0, 1));
    const size_t block_bytes =
        backend_->KvCacheBytes(KvCacheShape(spec, shard, /*num_blocks=*/1, *backend_));
    kv_token_bytes_ = static_cast<double>(block_bytes) / kernels::kKvBlockTokens;
    decoder_ = OrDie(Decoder::Create(spec, shard, std::move(weights), limits, backend_.get(),
                                     nullptr, absl::Minutes(1)));
    std::printf("%s, weights %s (%.2f GB), KV cache %s (%.2f GB), determinism %s, on %s\n",
                spec.name.c_str(), options.weights.c_str(), weight_bytes_ / 1e9,
                options.kv_cache_dtype.c_str(),
                static_cast<double>(decoder_->kv_arena_bytes()) / 1e9, options.determinism.c_str(),
                backend_->Describe().c_str());
  }

  // `batch` requests whose prompts have `context` tokens: the rate at which they decode together.
  void Decode(int batch, int context, int steps) {
    if (!Fits(batch, context + steps + kWarmSteps)) return;
    Run run(*this);
    for (int i = 0; i < batch; ++i) run.Submit(context, steps + kWarmSteps + batch);
    // Prompts are taken in one after the other; what is measured begins when all decode.
    while (run.sink.tokens() < int64_t{batch} * kWarmSteps) run.Step();
    const int64_t before = run.sink.tokens();
    const auto start = Clock::now();
    for (int i = 0; i < steps; ++i) run.Step();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const auto tokens = static_cast<double>(run.sink.tokens() - before);
    const double step_seconds = seconds * batch / tokens;
    const double bytes = weight_bytes_ + kv_token_bytes_ * batch * context;
    std::printf("decode    batch %4d  context %6d  %9.1f tok/s  %7.3f ms a step  %6.0f GB/s\n",
                batch, context, tokens / seconds, step_seconds * 1e3, bytes / step_seconds / 1e9);
    std::fflush(stdout);
  }

  // The time to the first token of a prompt, alone: the median of a few.
  void Prefill(int tokens, int repeats) {
    if (!Fits(1, tokens + 1)) return;
    std::vector<double> seconds;
    for (int i = 0; i < repeats; ++i) {
      Run run(*this);
      const auto start = Clock::now();
      run.Submit(tokens, 1);
      while (run.sink.tokens() == 0) run.Step();
      seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    std::printf("prefill   prompt %6d             %9.1f tok/s  %7.2f ms to the first token\n",
                tokens, tokens / median, median * 1e3);
    std::fflush(stdout);
  }

  // More requests than can run, for some time: the rate of generated tokens.
  void Saturated(int prompt, int answer) {
    Run run(*this);
    int submitted = 0;
    const auto feed = [&] {
      while (submitted - run.sink.ended() < 2 * limits_.max_seqs) {
        // Of different lengths, so that they do not all end in one step.
        run.Submit(prompt, answer / 2 + static_cast<int>(random_() % answer));
        ++submitted;
      }
    };
    feed();
    while (run.sink.ended() < limits_.max_seqs / 8) {
      run.Step();
      feed();
    }
    const int64_t before = run.sink.tokens();
    const auto start = Clock::now();
    const auto end = start + std::chrono::seconds(options_.saturated_seconds);
    while (Clock::now() < end) {
      run.Step();
      feed();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::printf("saturated prompt %6d  answer %5d  %9.1f tok/s\n", prompt, answer,
                static_cast<double>(run.sink.tokens() - before) / seconds);
    std::fflush(stdout);
  }

 private:
  static constexpr int kWarmSteps = 8;

  // One engine, from its first request to its last.
  struct Run {
    explicit Run(Bench& bench)
        : bench(bench),
          executor(bench.decoder_.get()),
          metrics(registry),
          engine({.limits = bench.limits_,
                  .request_limits = {.vocab_size = bench.spec_.vocab,
                                     .context_tokens = bench.spec_.context_tokens},
                  .max_waiting = 4096},
                 &executor, MonotonicClock(), &metrics),
          session(OrDie(engine.OpenSession(&sink))) {}
    // Steps in flight are awaited by the engine's end.
    ~Run() {
      sink.set_ending();
      engine.Stop();
      while (engine.RunOnce()) {
      }
    }

    void Submit(int prompt, int max_new_tokens) {
      GenerationRequest request;
      for (int i = 0; i < prompt; ++i) {
        request.prompt_token_ids.push_back(static_cast<int32_t>(bench.random_() % 500));
      }
      request.max_new_tokens = max_new_tokens;
      CHECK_OK(session->Submit(RequestId{next_id++}, std::move(request)));
    }
    void Step() { CHECK(engine.RunOnce()); }

    Bench& bench;
    CountingSink sink;
    DecoderExecutor executor;
    prometheus::Registry registry;
    EngineMetrics metrics;
    Engine engine;
    std::unique_ptr<EngineSession> session;
    uint64_t next_id = 1;
  };

  bool Fits(int batch, int tokens) const {
    return batch <= limits_.max_seqs && tokens <= spec_.context_tokens &&
           int64_t{batch} * ((tokens + 15) / 16) <= limits_.kv_blocks;
  }

  const Options options_;
  const ModelSpec spec_;
  const StepLimits limits_;
  std::mt19937 random_{1};
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
  double weight_bytes_ = 0;
  double kv_token_bytes_ = 0;
};

void RunAll(const Options& options) {
  if (options.tiny) {
    Bench bench(options, Tiny(),
                {.max_step_tokens = 64, .max_seqs = 4, .max_blocks_per_seq = 16, .kv_blocks = 64});
    bench.Decode(1, 64, 4);
    bench.Decode(4, 32, 4);
    bench.Prefill(100, 1);
    bench.Saturated(16, 8);
    return;
  }
  Bench bench(options, PhiFourMini(),
              {.max_step_tokens = 8192,
               .max_seqs = 256,
               .max_blocks_per_seq = 1024,
               .kv_blocks = 600000 / kernels::kKvBlockTokens});
  for (const int batch : {1, 8, 32, 128}) bench.Decode(batch, 1024, 200);
  if (options.decode_only) return;
  bench.Prefill(1024, 5);
  bench.Prefill(8192, 3);
  for (const int batch : {1, 8, 32}) bench.Decode(batch, 8192, 100);
  bench.Saturated(1024, 1024);
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  CLI::App app("Measures the engine on a GPU, with random weights.", "engine_bench");
  phalanx::Options options;
  app.add_flag("--tiny", options.tiny, "A tiny model, to see that the program works");
  app.add_option("--weights", options.weights, "bf16, q8_0 or q4_0")
      ->check(CLI::IsMember({"bf16", "q8_0", "q4_0"}));
  app.add_option("--kv_cache_dtype", options.kv_cache_dtype, "bf16, int8 or fp8")
      ->check(CLI::IsMember({"bf16", "int8", "fp8"}));
  app.add_option("--determinism", options.determinism, "strict or fast")
      ->check(CLI::IsMember({"strict", "fast"}));
  app.add_option("--saturated_seconds", options.saturated_seconds,
                 "How long the engine is kept busy in the last case")
      ->check(CLI::Range(1, 600));
  app.add_flag("--decode_only", options.decode_only, "Only decodes at 1024 tokens of context");
  CLI11_PARSE(app, argc, argv);
  phalanx::RunAll(options);
  return 0;
}
