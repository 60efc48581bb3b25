// What drawing the tokens of a step takes on two ranks of one thread each, the logits of
// Phi-4-mini's vocabulary split between them: by a rank that gathers all logits and draws alone,
// and by ShardedSampler. Both in turn in one run, the median of each and their ratio.
//
// Usage: sharded_sampler_bench [ROWS [ROUNDS]]; by default 32 rows, 15 rounds
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/sampling/sharded_sample.h"
#include "kernels/testing/aligned_vector.h"
#include "worker/comm/shm_communicator.h"
#include "worker/model/sharded_sampler.h"

namespace phalanx {
namespace {

using kernels::SamplingRow;
using kernels::Tensor;

constexpr int kWorld = 2;
constexpr int64_t kVocab = 200064;
constexpr int64_t kLocalVocab = kVocab / kWorld;

double Milliseconds(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

// What each round takes, in milliseconds.
struct Times {
  std::vector<double> wall;
  std::vector<double> processor;

  template <typename Work>
  void Add(Work work) {
    const double wall_start = Milliseconds(CLOCK_MONOTONIC);
    const double processor_start = Milliseconds(CLOCK_THREAD_CPUTIME_ID);
    work();
    processor.push_back(Milliseconds(CLOCK_THREAD_CPUTIME_ID) - processor_start);
    wall.push_back(Milliseconds(CLOCK_MONOTONIC) - wall_start);
  }
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

struct Rank {
  Rank(int rank, int64_t rows, Communicator* communicator)
      : comm(communicator),
        backend(*kernels::MakeCpuBackend({.num_threads = 1})),
        stream(backend->NewStream()),
        collectives(comm, stream.get()),
        logits(rows * kLocalVocab),
        words(rows * (12 + kWorld + (kWorld + 1) * kernels::kDigitValues)),
        cuts(kernels::kCutKinds * rows) {
    if (!backend->Reserve({.max_seqs = rows, .local_vocab = kVocab}).ok()) std::abort();
    std::mt19937 random(static_cast<uint32_t>(rank));
    std::normal_distribution<float> normal(0.0f, 3.0f);
    for (float& logit : logits) logit = normal(random);
    uint64_t* next = words.data();
    const auto take = [&](int64_t count) { return std::exchange(next, next + count * rows); };
    const SamplerMemory memory = {.shard = {.rank = rank,
                                            .world = kWorld,
                                            .first_id = rank * kLocalVocab,
                                            .vocab = kVocab,
                                            .maxima = take(1),
                                            .cuts = cuts.data(),
                                            .typical_sums = take(kernels::kTypicalSums),
                                            .sums = take(kernels::kDigitValues),
                                            .sums_of_ranks = take(kWorld * kernels::kDigitValues),
                                            .kept = take(1),
                                            .kept_of_ranks = take(kWorld),
                                            .drawn = take(1)},
                                  .log_prob_terms = take(kernels::kLogProbTerms)};
    sampler = std::make_unique<ShardedSampler>(memory, backend.get(), stream.get(), &collectives);
  }

  Communicator* const comm;
  const std::unique_ptr<kernels::Backend> backend;
  const std::unique_ptr<kernels::Stream> stream;
  Collectives collectives;
  kernels::AlignedVector<float> logits;
  std::vector<uint64_t> words;
  std::vector<kernels::SampleCut> cuts;
  std::unique_ptr<ShardedSampler> sampler;
  std::vector<int32_t> tokens;
};

class Bench {
 public:
  Bench(int64_t rows, const SamplingRow& sampling)
      : rows_(rows),
        sampling_(rows, sampling),
        gathered_(rows * kVocab),
        group_(MakeLocalGroup(2)) {
    for (int i = 0; i < rows; ++i) {
      sampling_[i].seed = 5;
      sampling_[i].position = i;
    }
    step_.num_logit_rows = static_cast<int>(rows);
    step_.sampling = sampling_.data();
    kernels::NoteWants(sampling_, kVocab, &step_);
    for (int r = 0; r < kWorld; ++r) {
      ranks_.push_back(std::make_unique<Rank>(r, rows, group_[r].get()));
    }
  }

  // Prints two lines.
  void Run(const char* name, int rounds) {
    Times gathered;
    Times sharded;
    std::thread peer([&] {
      for (int i = 0; i < rounds; ++i) {
        Gathered(1);
        Sharded(1);
      }
    });
    for (int i = 0; i < rounds; ++i) {
      gathered.Add([&] { Gathered(0); });
      sharded.Add([&] { Sharded(0); });
      CHECK(ranks_[0]->tokens == tokens_) << "different tokens";
    }
    peer.join();
    Print(name, "wall", gathered.wall, sharded.wall);
    Print(name, "rank 0", gathered.processor, sharded.processor);
  }

 private:
  // Rank 0 reads the logits of both ranks where they lie, which is a copy less than a gather
  // through shared memory takes.
  void Gathered(int rank) {
    CHECK_OK(group_[rank]->Barrier());
    if (rank == 0) {
      for (int64_t i = 0; i < rows_; ++i) {
        for (int r = 0; r < kWorld; ++r) {
          std::copy_n(ranks_[r]->logits.data() + i * kLocalVocab, kLocalVocab,
                      gathered_.data() + i * kVocab + r * kLocalVocab);
        }
      }
      tokens_.resize(rows_);
      const Tensor whole = {gathered_.data(), kernels::DType::kF32, rows_, kVocab};
      ranks_[0]->backend->Sample(*ranks_[0]->stream, step_, whole, tokens_.data());
    }
    CHECK_OK(group_[rank]->Barrier());
  }

  void Sharded(int rank) {
    Rank& r = *ranks_[rank];
    CHECK_OK(r.comm->Barrier());
    const Tensor part = {r.logits.data(), kernels::DType::kF32, rows_, kLocalVocab};
    r.tokens.resize(rows_);
    CHECK_OK(r.sampler->Draw(step_, part, r.tokens.data()));
    CHECK_OK(r.comm->Barrier());
  }

  void Print(const char* name, const char* what, std::vector<double> gathered,
             std::vector<double> sharded) const {
    const double before = Median(std::move(gathered));
    const double after = Median(std::move(sharded));
    std::printf("%-16s %3d rows, %-6s  gathered %8.2f ms  sharded %8.2f ms  ratio %.2f\n", name,
                static_cast<int>(rows_), what, before, after, after / before);
  }

  const int64_t rows_;
  std::vector<SamplingRow> sampling_;
  kernels::AlignedVector<float> gathered_;
  const std::vector<std::unique_ptr<Communicator>> group_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  kernels::SamplingBatch step_;
  std::vector<int32_t> tokens_;
};

void Main(int64_t rows, int rounds) {
  Bench(rows, {}).Run("greedy", rounds);
  Bench(rows, {.temperature = 0.8f}).Run("temperature", rounds);
  Bench(rows, {.temperature = 0.8f, .top_p = 0.95f}).Run("top_p 0.95", rounds);
  Bench(rows, {.temperature = 0.8f, .top_k = 50}).Run("top_k 50", rounds);
  Bench(rows, {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f}).Run("top_k and top_p", rounds);
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  const int rows = argc > 1 ? std::atoi(argv[1]) : 32;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 15;
  if (rows < 1 || rounds < 1) {
    std::fprintf(stderr, "usage: sharded_sampler_bench [ROWS [ROUNDS]], both at least 1\n");
    return 2;
  }
  phalanx::Main(rows, rounds);
  return 0;
}
