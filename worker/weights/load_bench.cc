// How long a model takes to load, next to a plain copy of its tensors in the same run.
//
// Usage: load_bench MODEL [ROUNDS [THREADS]]
//
// Each round opens the model, reads its tokenizer, packs the weights of a whole model and of rank 0
// of two, and copies all tensors from the mapped file to fresh memory on one thread, which is what
// packing could be at best there. Prints the median of each; GB/s are of the bytes that are held
// afterwards. The file is in the page cache.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/shard.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {
namespace {

struct Options {
  std::string model;
  int rounds = 11;
  int threads = 1;
};

struct Phase {
  std::string name;
  double gigabytes = 0.0;  // 0 if a rate in bytes would say nothing.
  std::vector<double> seconds = {};
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

absl::Status Time(const std::function<absl::Status()>& work, Phase* phase) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(work());
  phase->seconds.push_back(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return absl::OkStatus();
}

absl::Status Pack(const Checkpoint& checkpoint, int world, kernels::Backend& backend,
                  Phase* phase) {
  ASSIGN_OR_RETURN(const Shard shard, ShardModel(checkpoint.spec(), 0, world));
  return Time(
      [&] {
        const auto weights = LoadDecoderWeights(checkpoint, checkpoint.spec(), shard, backend);
        if (weights.ok()) phase->gigabytes = static_cast<double>(weights->bytes) / 1e9;
        return weights.status();
      },
      phase);
}

absl::Status Copy(const Checkpoint& checkpoint, kernels::Backend& backend, Phase* phase) {
  size_t bytes = 0;
  for (const TensorView& tensor : checkpoint.tensors()) bytes += tensor.data.size();
  phase->gigabytes = static_cast<double>(bytes) / 1e9;
  return Time(
      [&] {
        ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Buffer> copy, backend.Allocate(bytes));
        auto* to = static_cast<std::byte*>(copy->data());
        for (const TensorView& tensor : checkpoint.tensors()) {
          std::memcpy(to, tensor.data.data(), tensor.data.size());
          to += tensor.data.size();
        }
        checkpoint.DropPages();
        return absl::OkStatus();
      },
      phase);
}

void Print(const std::vector<Phase>& phases, const Phase& copy) {
  const double copy_rate = copy.gigabytes / Median(copy.seconds);
  std::cout << absl::StrFormat("%-26s %10s %8s %8s %9s\n", "", "median", "best", "GB/s", "of copy");
  for (const Phase& phase : phases) {
    const double median = Median(phase.seconds);
    const double best = *std::min_element(phase.seconds.begin(), phase.seconds.end());
    std::cout << absl::StrFormat("%-26s %7.2f ms %5.2f ms", phase.name, median * 1e3, best * 1e3);
    if (phase.gigabytes > 0) {
      const double rate = phase.gigabytes / median;
      std::cout << absl::StrFormat(" %8.2f %7.0f %%", rate, 100 * rate / copy_rate);
    }
    std::cout << "\n";
  }
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Backend> backend,
                   kernels::MakeCpuBackend({.num_threads = options.threads}));
  Phase open{"open: map and parse"};
  Phase tokenizer{"read the tokenizer"};
  Phase whole{"pack, 1 rank"};
  Phase half{"pack, rank 0 of 2"};
  Phase copy{"plain copy, 1 thread"};
  for (int round = 0; round < options.rounds; ++round) {
    std::unique_ptr<Checkpoint> checkpoint;
    RETURN_IF_ERROR(Time(
        [&] {
          ASSIGN_OR_RETURN(checkpoint, Checkpoint::Open(options.model));
          return absl::OkStatus();
        },
        &open));
    RETURN_IF_ERROR(Time([&] { return checkpoint->ReadTokenizer().status(); }, &tokenizer));
    RETURN_IF_ERROR(Pack(*checkpoint, 1, *backend, &whole));
    RETURN_IF_ERROR(Pack(*checkpoint, 2, *backend, &half));
    RETURN_IF_ERROR(Copy(*checkpoint, *backend, &copy));
  }
  std::cout << options.model << ": " << options.rounds << " rounds, packing on " << options.threads
            << " thread(s), " << backend->Describe() << "\n";
  Print({open, tokenizer, whole, half, copy}, copy);
  return absl::OkStatus();
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  phalanx::Options options;
  if (argc < 2 || argc > 4 || (argc > 2 && !absl::SimpleAtoi(argv[2], &options.rounds)) ||
      (argc > 3 && !absl::SimpleAtoi(argv[3], &options.threads)) || options.rounds < 1) {
    std::cerr << "usage: load_bench MODEL [ROUNDS [THREADS]]\n";
    return 2;
  }
  options.model = argv[1];
  const absl::Status status = phalanx::Run(options);
  if (status.ok()) return 0;
  std::cerr << "load_bench: " << status << "\n";
  return 1;
}
