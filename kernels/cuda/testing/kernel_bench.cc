// How long each kernel of a decode step takes on a GPU, in the shapes of Phi-4-mini, and what part
// of the memory's speed that is: of a copy's, measured in the same run. Each op is run as the steps
// of a model run it, one after the other on weights that are not in a cache, and recorded.

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/ops.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

using Clock = std::chrono::steady_clock;

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

struct Shape {
  int64_t hidden = 3072;
  int64_t qkv = 5120;
  int64_t ffn = 8192;
  int64_t vocab = 200064;
  int q_heads = 24;
  int kv_heads = 8;
  int head_dim = 128;
  int rotary_dim = 96;
  int copies = 8;  // Of each matrix, so that they are not in a cache: several 100 MB.
  size_t copy_bytes = size_t{1} << 30;
};

constexpr Shape kTiny = {.hidden = 64,
                         .qkv = 320,
                         .ffn = 96,
                         .vocab = 512,
                         .q_heads = 3,
                         .kv_heads = 1,
                         .head_dim = 64,
                         .rotary_dim = 48,
                         .copies = 2,
                         .copy_bytes = size_t{1} << 20};

class Bench {
 public:
  Bench(const Shape& shape, DType weights, const CudaBackendOptions& options)
      : shape_(shape),
        weights_(weights),
        backend_(OrDie(MakeCudaBackend(options))),
        stream_(backend_->NewStream()) {
    Reserve();
    std::printf("%s, weights %s\n", backend_->Describe().c_str(), DTypeName(weights));
  }

  // Bytes read and written by a copy, in a second.
  void MeasureCopy() {
    const auto from = OrDie(backend_->Allocate(shape_.copy_bytes));
    const auto to = OrDie(backend_->Allocate(shape_.copy_bytes));
    const double seconds = Time([&] {
      cudaMemcpyAsync(to->data(), from->data(), shape_.copy_bytes, cudaMemcpyDeviceToDevice,
                      static_cast<cuda::CudaStream&>(*stream_).handle());
    });
    copy_rate_ = 2.0 * static_cast<double>(shape_.copy_bytes) / seconds;
    std::printf("copy                          %41.0f GB/s\n", copy_rate_ / 1e9);
  }

  // If `normed` is given, the product is measured once more under that name, with the norm of its
  // inputs.
  void Linear(const char* name, int64_t inputs, int64_t outputs, int64_t rows, DType out_type,
              const char* normed = nullptr) {
    const RandomLinear random(weights_, inputs, 64, 1);
    std::vector<const std::byte*> row_pointers;
    const LinearSource source = random.source();
    for (int64_t i = 0; i < outputs; ++i) row_pointers.push_back(source.rows[i % 64]);
    std::vector<std::unique_ptr<PackedLinear>> copies;
    for (int i = 0; i < shape_.copies; ++i) {
      copies.push_back(OrDie(backend_->PackLinear(
          {{.dtype = weights_, .in_features = inputs, .rows = row_pointers}})));
    }
    Reserve();
    const Tensor x = Take(DType::kBF16, rows, inputs);
    const Tensor out = Take(out_type, rows, outputs);
    const double seconds =
        TimeRecorded([&](int i) { backend_->Linear(*stream_, x, *copies[i], {}, out); });
    const auto bytes = static_cast<double>(copies[0]->bytes());
    const double flops = 2.0 * static_cast<double>(inputs * outputs * rows);
    Print(name, rows, seconds, bytes, flops);
    if (normed != nullptr) {
      const Tensor residual = Take(DType::kF32, rows, inputs);
      const Tensor weight = Take(DType::kF32, 1, inputs);
      const double both = TimeRecorded([&](int i) {
        backend_->NormLinear(*stream_, residual, weight, 1e-5f, x, *copies[i], {}, out);
      });
      Print(normed, rows, both, bytes, flops);
    }
    memory_.clear();
  }

  void GatedLinear(int64_t rows) {
    const RandomLinear random(weights_, shape_.hidden, 64, 2);
    std::vector<const std::byte*> row_pointers;
    const LinearSource all = random.source();
    for (int64_t i = 0; i < shape_.ffn; ++i) row_pointers.push_back(all.rows[i % 64]);
    const LinearSource source = {
        .dtype = weights_, .in_features = shape_.hidden, .rows = row_pointers};
    std::vector<std::unique_ptr<PackedGatedLinear>> copies;
    for (int i = 0; i < shape_.copies; ++i) {
      copies.push_back(OrDie(backend_->PackGatedLinear(source, source)));
    }
    Reserve();
    const Tensor x = Take(DType::kBF16, rows, shape_.hidden);
    const Tensor out = Take(DType::kBF16, rows, shape_.ffn);
    const double seconds =
        TimeRecorded([&](int i) { backend_->GatedLinear(*stream_, x, *copies[i], out); });
    const auto bytes = static_cast<double>(copies[0]->bytes());
    const double flops = 4.0 * static_cast<double>(shape_.hidden * shape_.ffn * rows);
    Print("gate and up", rows, seconds, bytes, flops);
    const Tensor residual = Take(DType::kF32, rows, shape_.hidden);
    const Tensor weight = Take(DType::kF32, 1, shape_.hidden);
    const double both = TimeRecorded([&](int i) {
      backend_->NormGatedLinear(*stream_, residual, weight, 1e-5f, x, *copies[i], out);
    });
    Print("norm, gate and up", rows, both, bytes, flops);
    memory_.clear();
  }

  void Norm(int64_t rows) {
    const Tensor residual = Take(DType::kF32, rows, shape_.hidden);
    const Tensor weight = Take(DType::kF32, 1, shape_.hidden);
    const Tensor out = Take(DType::kBF16, rows, shape_.hidden);
    const double seconds =
        TimeRecorded([&](int) { backend_->RmsNorm(*stream_, residual, weight, 1e-5f, out); });
    Print("norm", rows, seconds, static_cast<double>(rows * shape_.hidden) * 6, 0);
    memory_.clear();
  }

  // `seqs` sequences of `context` tokens, with a token each.
  void Attention(int seqs, int context) {
    const int blocks_per_seq = (context + kKvBlockTokens - 1) / kKvBlockTokens;
    const auto cache = OrDie(backend_->AllocateKvCache({.num_layers = shape_.copies,
                                                        .num_blocks = seqs * blocks_per_seq,
                                                        .num_kv_heads = shape_.kv_heads,
                                                        .head_dim = shape_.head_dim,
                                                        .dtype = backend_->kv_cache_dtype()}));
    std::vector<int32_t> zeros(seqs);
    std::vector<int32_t> positions(seqs, context - 1);
    std::vector<int32_t> lengths(seqs, context);
    std::vector<int32_t> numbers(seqs + 1);
    for (int i = 0; i <= seqs; ++i) numbers[i] = i;
    std::vector<int32_t> tables(seqs * blocks_per_seq);
    for (size_t i = 0; i < tables.size(); ++i) tables[i] = static_cast<int32_t>(i);
    StepBatch batch;
    batch.num_tokens = batch.num_seqs = seqs;
    batch.max_blocks_per_seq = blocks_per_seq;
    batch.token_ids = Upload(zeros);
    batch.positions = Upload(positions);
    batch.seq_of_token = Upload(numbers);
    batch.query_starts = Upload(numbers);
    batch.slots = Upload(numbers);
    batch.kv_lengths = Upload(lengths);
    batch.rope_lists = Upload(zeros);
    batch.block_tables = const_cast<int32_t*>(Upload(tables));
    const Tensor qkv = Take(DType::kBF16, seqs, shape_.qkv);
    const Tensor out = Take(DType::kBF16, seqs, int64_t{shape_.q_heads} * shape_.head_dim);
    const double seconds = TimeRecorded([&](int i) {
      backend_->PagedAttention(*stream_, batch, qkv, shape_.q_heads, 0.1f, *cache, i, out);
    });
    const Tensor cos_sin = Take(DType::kF32, seqs, shape_.rotary_dim);
    const double both = TimeRecorded([&](int i) {
      backend_->RopeAttention(*stream_, batch, cos_sin, shape_.q_heads, qkv, 0.1f, *cache, i, out);
    });
    const double bytes = 4.0 * shape_.kv_heads * shape_.head_dim * seqs * context;
    const double flops = 4.0 * shape_.q_heads * shape_.head_dim * seqs * context;
    Print(absl::StrCat("attention over ", context).c_str(), seqs, seconds, bytes, flops);
    Print(absl::StrCat("rotation, att. over ", context).c_str(), seqs, both, bytes, flops);
    memory_.clear();
  }

  void Sample(int rows, float top_p) {
    const Tensor logits = Take(DType::kF32, rows, shape_.vocab);
    std::vector<SamplingRow> sampling(
        rows, {.temperature = top_p == 0 ? 0.0f : 1.0f, .top_p = top_p == 0 ? 1.0f : top_p});
    SamplingBatch batch;
    batch.num_logit_rows = rows;
    batch.sampling = Upload(sampling);
    batch.wants_draw = top_p > 0;
    batch.wants_top_k = false;
    batch.wants_top_p = top_p > 0 && top_p < 1;
    const Tensor tokens = Take(DType::kF32, 1, rows);
    const double seconds = TimeRecorded([&](int) {
      backend_->Sample(*stream_, batch, logits, static_cast<int32_t*>(tokens.data));
    });
    Print(top_p == 0 ? "greedy tokens" : "tokens, top_p", rows, seconds,
          static_cast<double>(rows * shape_.vocab) * 4, 0);
    memory_.clear();
  }

 private:
  // Again once there are weights, since a library is measured with those that there are.
  void Reserve() {
    const absl::Status status = backend_->Reserve({.max_tokens = 2048,
                                                   .max_seqs = 128,
                                                   .hidden = shape_.hidden,
                                                   .local_q_heads = shape_.q_heads,
                                                   .head_dim = shape_.head_dim,
                                                   .local_ffn = shape_.ffn,
                                                   .local_vocab = shape_.vocab,
                                                   .max_blocks_per_seq = 1024});
    if (!status.ok()) OrDie<int>(status);
  }
  Tensor Take(DType dtype, int64_t rows, int64_t cols) {
    memory_.push_back(OrDie(backend_->Allocate(RowBytes(dtype, cols) * static_cast<size_t>(rows))));
    return {memory_.back()->data(), dtype, rows, cols};
  }
  template <typename T>
  const T* Upload(const std::vector<T>& values) {
    memory_.push_back(OrDie(backend_->Allocate(values.size() * sizeof(T))));
    backend_->CopyToBackend(*stream_, memory_.back()->data(), values.data(),
                            values.size() * sizeof(T));
    if (!stream_->Synchronize().ok()) std::abort();
    return static_cast<const T*>(memory_.back()->data());
  }

  // Seconds of one call of `work`, of many that follow each other.
  double Time(const std::function<void()>& work) {
    const auto run = [&](int times) {
      const auto start = Clock::now();
      for (int i = 0; i < times; ++i) work();
      const absl::Status status = stream_->Synchronize();
      if (!status.ok()) OrDie<int>(status);
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    run(2);
    int times = 4;
    double seconds = run(times);
    while (seconds < 0.02 && times < 1 << 14) seconds = run(times *= 2);
    return seconds / times;
  }

  // Seconds of one op(i); the ops for all copies are recorded one after the other.
  double TimeRecorded(const std::function<void(int copy)>& op) {
    const auto recording = OrDie(backend_->Record(*stream_, [&] {
      for (int i = 0; i < shape_.copies; ++i) op(i);
      return absl::OkStatus();
    }));
    return Time([&] { backend_->Replay(*stream_, *recording); }) / shape_.copies;
  }

  void Print(const char* name, int64_t rows, double seconds, double bytes, double flops) const {
    std::printf("%-24s rows %4lld  %9.2f us  %8.0f GB/s  %5.1f %% of the copy  %7.1f TFLOP/s\n",
                name, static_cast<long long>(rows), seconds * 1e6, bytes / seconds / 1e9,
                100 * bytes / seconds / copy_rate_, flops / seconds / 1e12);
    std::fflush(stdout);
  }

  const Shape shape_;
  const DType weights_;
  const std::unique_ptr<Backend> backend_;
  const std::unique_ptr<Stream> stream_;
  double copy_rate_ = 0;
  std::vector<std::unique_ptr<Buffer>> memory_;
};

void RunAll(const Shape& shape, DType weights, const std::vector<int>& rows) {
  Bench bench(shape, weights, {.loading_threads = 8});
  bench.MeasureCopy();
  for (const int n : rows) {
    bench.Linear("q, k and v", shape.hidden, shape.qkv, n, DType::kBF16, "norm, q, k and v");
    bench.Linear("attention's output", shape.hidden, shape.hidden, n, DType::kBF16);
    bench.GatedLinear(n);
    bench.Linear("down", shape.ffn, shape.hidden, n, DType::kBF16);
    if (n <= 128) bench.Linear("logits", shape.hidden, shape.vocab, n, DType::kF32);
    bench.Norm(n);
  }
  if (weights != DType::kBF16) return;
  for (const int context : {1024, 8192}) {
    for (const int seqs : {1, 8, 32}) {
      if (shape.hidden == kTiny.hidden && seqs * context > 1024) continue;
      bench.Attention(seqs, context);
    }
  }
  bench.Sample(1, 0);
  bench.Sample(rows.back() < 32 ? 2 : 32, 0);
  bench.Sample(1, 0.95f);
  bench.Sample(rows.back() < 32 ? 2 : 32, 0.95f);
}

// Products of many rows as --determinism=fast has them.
void RunLibrary(const Shape& shape, const std::vector<int>& rows) {
  const auto api = cuda::LoadCublasLt();
  if (!api.ok()) {
    std::printf("without cuBLASLt: %s\n", api.status().ToString().c_str());
    return;
  }
  const auto log = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
  Bench bench(shape, DType::kBF16,
              {.determinism = Determinism::kFast,
               .loading_threads = 8,
               .library = CudaBackendOptions::Library{.api = *api, .log = log}});
  bench.MeasureCopy();
  for (const int n : rows) {
    bench.Linear("q, k and v", shape.hidden, shape.qkv, n, DType::kBF16);
    bench.GatedLinear(n);
    bench.Linear("down", shape.ffn, shape.hidden, n, DType::kBF16);
  }
}

}  // namespace
}  // namespace phalanx::kernels

int main(int argc, char** argv) {
  using phalanx::kernels::DType;
  const bool tiny = argc > 1 && std::strcmp(argv[1], "--tiny") == 0;
  if (argc > 1 && !tiny) {
    std::fprintf(stderr, "usage: kernel_bench [--tiny]\n");
    return 2;
  }
  if (tiny) {
    phalanx::kernels::RunAll(phalanx::kernels::kTiny, DType::kBF16, {1, 3});
    return 0;
  }
  phalanx::kernels::RunAll({}, DType::kBF16, {1, 8, 32, 128, 1024});
  phalanx::kernels::RunLibrary({}, {128, 1024, 2048});
  phalanx::kernels::RunAll({}, DType::kQ8_0, {1, 32});
  phalanx::kernels::RunAll({}, DType::kQ4_0, {1, 32});
  return 0;
}
