// Tells, before anything is loaded, whether what the ranks of a group will hold fits into memory.
// The kernel gives memory only when it is touched. Without this check a group would start, say that
// it is ready, and be killed when its KV cache fills up.
#ifndef PHALANX_WORKER_MEMORY_PLAN_H_
#define PHALANX_WORKER_MEMORY_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/ops.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/shard.h"
#include "model/sharding/weight_plan.h"
#include "model/spec/spec.h"
#include "worker/memory_source.h"
#include "worker/step/step.h"
#include "worker/worker_options.h"

namespace phalanx {

// What a rank holds once it has loaded and its KV cache has filled up. The model's files do not
// count: they are mapped, and their pages are page cache, which counts as free.
struct RankBytes {
  int rank = 0;
  int64_t weights = 0;
  int64_t kv_cache = 0;
  int64_t activations = 0;
  int64_t overhead = 0;  // MemorySource::overhead.

  int64_t total() const { return weights + kv_cache + activations + overhead; }
};

// Thread-compatible.
class MemoryPlanner {
 public:
  // `backend` is the kind that the ranks compute with; it is lent and must outlive the planner.
  // `form` is that in which weights will be loaded. Errors are those of ShardModel and PlanWeights.
  // Reads no weights.
  static absl::StatusOr<MemoryPlanner> Create(const Checkpoint& checkpoint, int world,
                                              const kernels::Backend* backend,
                                              WeightForm form = WeightForm::kFile);

  // Decides how many tokens the KV cache holds, limits spec.context_tokens as LimitContext does,
  // and returns what MakeStepLimits makes of it, after a line in the log. The KV cache holds
  // --kv_cache_tokens. Without that it is kDefaultKvCacheTokens, or more for --context_tokens, or
  // as many as there is room for; in memory that is to be filled it is as many as there is room
  // for, up to the whole context of every request that may run.
  //
  // Errors are those of LimitContext and MakeStepLimits, and RESOURCE_EXHAUSTED, with a table of
  // what is needed and what is free and the flags that help, if the group does not fit into
  // `memory`. If ranks share it, all of them must fit into the machine, those of this process and
  // its children into its control group. If each has its own, that of other ranks is taken to be
  // like this one's.
  absl::StatusOr<StepLimits> PlanGroup(const WorkerOptions& options, const MemorySource& memory,
                                       ModelSpec& spec) const;

  // For a rank that others started, or whose memory is its own: RESOURCE_EXHAUSTED, with the table,
  // if it does not fit.
  absl::Status CheckRank(int rank, const StepLimits& limits, const MemorySource& memory) const;

  // What rank `rank` will hold, a line for each part of it, for the log.
  std::string Describe(int rank, const StepLimits& limits, const MemorySource& memory) const;

 private:
  struct Rank {
    Shard shard;
    int64_t weight_bytes = 0;
  };

  MemoryPlanner(const ModelSpec& spec, const kernels::Backend* backend)
      : spec_(spec), backend_(backend) {}
  // This rank's part of a KV cache of so many blocks.
  int64_t KvCacheBytes(const Rank& rank, int num_blocks) const;
  RankBytes Measure(const Rank& rank, const StepLimits& limits, const MemorySource& memory) const;
  std::vector<RankBytes> MeasureAll(const StepLimits& limits, const MemorySource& memory) const;
  // The bytes of one KV block: of all ranks together, or of the one that has most if each has
  // memory of its own.
  int64_t KvBlockBytes(const MemorySource& memory) const;
  // What keys and values are kept in and the bytes of a token, as KvBlockBytes counts them.
  std::string DescribeKv(const MemorySource& memory) const;
  // The table of what ranks hold and what is free.
  std::string Table(absl::Span<const RankBytes> ranks, const MemorySource& memory) const;
  // A KV cache with which a group fits that is `excess` bytes too large with `limits`; the largest,
  // if nothing else gets smaller with it.
  int MostKvCacheTokens(const StepLimits& limits, int64_t excess, const MemorySource& memory) const;
  // Whether the group fits with the KV cache of `options`. `spec` has the model's whole context.
  bool Fits(const WorkerOptions& options, const MemorySource& memory, ModelSpec spec) const;
  // The largest KV cache with which the group fits, in tokens: it does with `fits`, and not with
  // that of `options`.
  int FillMemory(const WorkerOptions& options, int fits, const MemorySource& memory,
                 const ModelSpec& spec) const;

  // The model as its file has it, with its whole context.
  const ModelSpec spec_;
  const kernels::Backend* backend_;
  std::vector<Rank> ranks_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MEMORY_PLAN_H_
