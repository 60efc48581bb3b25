// Whether what the ranks of a group will hold fits into memory, told before anything is loaded.
// Anonymous memory is given out lazily: without this a group starts, says ready, and is killed when
// its KV cache fills up.
#ifndef PHALANX_WORKER_MEMORY_PLAN_H_
#define PHALANX_WORKER_MEMORY_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/free_memory.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/shard.h"
#include "model/spec/spec.h"
#include "worker/model/step_input.h"
#include "worker/worker_options.h"

namespace phalanx {

// Of each rank's process beside what is counted: the program, gRPC, what packing takes meanwhile.
inline constexpr int64_t kProgramBytes = int64_t{100} << 20;

// What a rank holds once it has loaded and its KV cache has filled up. The files are only mapped:
// their pages are page cache, which counts as free.
struct RankBytes {
  int rank = 0;
  int64_t weights = 0;
  int64_t kv_cache = 0;
  int64_t activations = 0;

  int64_t total() const { return weights + kv_cache + activations + kProgramBytes; }
};

// Thread-compatible.
class MemoryPlanner {
 public:
  // The errors of ShardModel and PlanWeights. Reads no weights.
  static absl::StatusOr<MemoryPlanner> Create(const Checkpoint& checkpoint, int world);

  // Settles how many tokens the KV cache holds, limits spec.context_tokens as LimitContext does,
  // and returns what MakeStepLimits makes of it, after a line in the log. Without
  // --kv_cache_tokens it is kDefaultKvCacheTokens, or more for --context_tokens, or as many as
  // there is room for. The errors of LimitContext and MakeStepLimits; RESOURCE_EXHAUSTED, with a
  // table of what is needed and free and the flags that help, if the group does not fit into
  // `free`: all ranks into the machine, those of this process and its children into its control
  // group.
  absl::StatusOr<StepLimits> PlanGroup(const WorkerOptions& options, const FreeMemory& free,
                                       ModelSpec& spec) const;

  // For a rank that others started: RESOURCE_EXHAUSTED, with the table, if it does not fit.
  absl::Status CheckRank(int rank, const StepLimits& limits, const FreeMemory& free) const;

 private:
  struct Rank {
    Shard shard;
    int64_t weight_bytes = 0;
  };

  explicit MemoryPlanner(const ModelSpec& spec) : spec_(spec) {}
  RankBytes Measure(const Rank& rank, const StepLimits& limits) const;
  std::vector<RankBytes> MeasureAll(const StepLimits& limits) const;
  // Of all ranks together.
  int64_t KvBlockBytes() const;
  // The largest KV cache that leaves a group like this, `excess` bytes too large, fitting.
  int MostKvCacheTokens(const StepLimits& limits, int64_t excess) const;

  // As the file has it.
  const ModelSpec spec_;
  std::vector<Rank> ranks_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MEMORY_PLAN_H_
