#include "worker/memory_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/bytes_text.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/ops.h"
#include "model/sharding/weight_plan.h"
#include "worker/model/activations.h"
#include "worker/weights/weight_bytes.h"

namespace phalanx {
namespace {

// A context that is shorter is of no use to anybody.
constexpr int kLeastContextTokens = 256;

int64_t Total(absl::Span<const RankBytes> ranks) {
  int64_t total = 0;
  for (const RankBytes& rank : ranks) total += rank.total();
  return total;
}

std::string Row(absl::string_view name, absl::string_view weights, absl::string_view kv_cache,
                absl::string_view activations, absl::string_view program, absl::string_view total) {
  return absl::StrFormat("\n  %-8s %10s %10s %11s %10s %10s", name, weights, kv_cache, activations,
                         program, total);
}

// `kv` says what keys and values take.
std::string TableOf(absl::Span<const RankBytes> ranks, const MemorySource& memory,
                    absl::string_view kv) {
  std::string table = Row("", "weights", "KV cache", "activations", memory.overhead_name, "total");
  RankBytes sum;
  for (const RankBytes& rank : ranks) {
    absl::StrAppend(&table, Row(absl::StrCat("rank ", rank.rank), BytesText(rank.weights),
                                BytesText(rank.kv_cache), BytesText(rank.activations),
                                BytesText(rank.overhead), BytesText(rank.total())));
    sum.weights += rank.weights;
    sum.kv_cache += rank.kv_cache;
    sum.activations += rank.activations;
    sum.overhead += rank.overhead;
  }
  if (ranks.size() > 1 && !memory.of_each_rank) {
    absl::StrAppend(
        &table, Row("together", BytesText(sum.weights), BytesText(sum.kv_cache),
                    BytesText(sum.activations), BytesText(sum.overhead), BytesText(sum.total())));
  }
  absl::StrAppend(&table, "\n  KV cache in ", kv);
  const auto add_free = [&](absl::string_view name, int64_t bytes) {
    if (bytes == FreeMemory::kUnlimited) return;
    absl::StrAppend(&table, "\n  free in ", name, ": ", BytesText(bytes));
  };
  add_free(memory.name, memory.free.machine);
  add_free("the control group of this process", memory.free.cgroup);
  return table;
}

// How many bytes more the ranks need than are free; not above 0 if they fit.
int64_t Excess(absl::Span<const RankBytes> ranks, const WorkerOptions& options,
               const MemorySource& memory) {
  // Differences, since a sum with kUnlimited would overflow.
  if (memory.of_each_rank) {
    int64_t most = 0;
    for (const RankBytes& rank : ranks) most = std::max(most, rank.total());
    return most - memory.free.least();
  }
  const int64_t in_cgroup = options.starts_ranks() ? Total(ranks) : ranks[0].total();
  return std::max(Total(ranks) - memory.free.machine, in_cgroup - memory.free.cgroup);
}

// What the KV cache is to hold if there is room and no flag tells.
int WantedKvCacheTokens(const WorkerOptions& options, const MemorySource& memory,
                        const ModelSpec& spec) {
  const int context = options.context_tokens > 0 ? options.context_tokens : spec.context_tokens;
  if (!memory.is_to_be_filled) return std::max(kDefaultKvCacheTokens, options.context_tokens);
  constexpr int64_t kMost = int64_t{1} << 28;
  return static_cast<int>(std::min(kMost, int64_t{context} * options.max_seqs));
}

// `most` is the largest KV cache that fits, `least` the smallest that serves.
std::string Advice(const WorkerOptions& options, const MemorySource& memory, int most, int least) {
  if (most >= least) {
    return absl::StrCat("give --kv_cache_tokens ", most, " or less");
  }
  std::string advice;
  if (most > 0) {
    absl::StrAppend(&advice, "there is room for a KV cache of ", most, " tokens, and at least ",
                    least, " are needed",
                    options.context_tokens > kLeastContextTokens ? " for --context_tokens" : "",
                    "; ");
  }
  absl::StrAppend(&advice,
                  "free memory, take weights of a smaller type, or lower --max_step_tokens (",
                  options.max_step_tokens, ") and --max_seqs (", options.max_seqs, ")");
  if (options.over_hosts()) {
    absl::StrAppend(&advice, "; a larger --world than ", options.group_size(),
                    " shares the weights out to more hosts");
  } else if (memory.of_each_rank) {
    absl::StrAppend(&advice, "; a larger --tp than ", options.group_size(),
                    " shares the weights out to more devices");
  } else if (options.starts_ranks() && options.tp > 1) {
    absl::StrAppend(&advice, "; a smaller --tp than ", options.tp, " saves ",
                    BytesText(memory.overhead), " a rank");
  }
  return advice;
}

}  // namespace

absl::StatusOr<MemoryPlanner> MemoryPlanner::Create(const Checkpoint& checkpoint, int world,
                                                    const kernels::Backend* backend,
                                                    WeightForm form) {
  MemoryPlanner planner(checkpoint.spec(), backend);
  for (int rank = 0; rank < world; ++rank) {
    ASSIGN_OR_RETURN(const Shard shard, ShardModel(checkpoint.spec(), rank, world));
    ASSIGN_OR_RETURN(WeightPlan plan, PlanWeights(checkpoint, checkpoint.spec(), shard));
    QuantizePlan(form, &plan);
    planner.ranks_.push_back({shard, static_cast<int64_t>(WeightBytes(plan, *backend))});
  }
  return planner;
}

int64_t MemoryPlanner::KvCacheBytes(const Rank& rank, int num_blocks) const {
  return static_cast<int64_t>(
      backend_->KvCacheBytes(KvCacheShape(spec_, rank.shard, num_blocks, *backend_)));
}

RankBytes MemoryPlanner::Measure(const Rank& rank, const StepLimits& limits,
                                 const MemorySource& memory) const {
  return {
      .rank = rank.shard.rank,
      .weights = rank.weight_bytes,
      .kv_cache = KvCacheBytes(rank, NumKvCacheBlocks(limits)),
      .activations = static_cast<int64_t>(ActivationBytes(spec_, rank.shard, limits, *backend_)),
      .overhead = memory.overhead};
}

std::vector<RankBytes> MemoryPlanner::MeasureAll(const StepLimits& limits,
                                                 const MemorySource& memory) const {
  std::vector<RankBytes> ranks;
  for (const Rank& rank : ranks_) ranks.push_back(Measure(rank, limits, memory));
  return ranks;
}

int64_t MemoryPlanner::KvBlockBytes(const MemorySource& memory) const {
  int64_t sum = 0;
  int64_t most = 0;
  for (const Rank& rank : ranks_) {
    sum += KvCacheBytes(rank, 1);
    most = std::max(most, KvCacheBytes(rank, 1));
  }
  return memory.of_each_rank ? most : sum;
}

std::string MemoryPlanner::DescribeKv(const MemorySource& memory) const {
  const int64_t bytes = KvBlockBytes(memory) / kernels::kKvBlockTokens;
  return absl::StrCat(kernels::KvDTypeName(backend_->kv_cache_dtype()), ", ", BytesText(bytes),
                      memory.of_each_rank ? " a token" : " a token in all ranks together");
}

std::string MemoryPlanner::Table(absl::Span<const RankBytes> ranks,
                                 const MemorySource& memory) const {
  return TableOf(ranks, memory, DescribeKv(memory));
}

int MemoryPlanner::MostKvCacheTokens(const StepLimits& limits, int64_t excess,
                                     const MemorySource& memory) const {
  const int64_t block_bytes = KvBlockBytes(memory);
  const int64_t blocks = limits.kv_blocks - (excess + block_bytes - 1) / block_bytes;
  return static_cast<int>(std::max<int64_t>(blocks, 0) * kernels::kKvBlockTokens);
}

bool MemoryPlanner::Fits(const WorkerOptions& options, const MemorySource& memory,
                         ModelSpec spec) const {
  spec.context_tokens = options.context_tokens > 0
                            ? options.context_tokens
                            : std::min(spec.context_tokens, options.kv_cache_tokens);
  const absl::StatusOr<StepLimits> limits = MakeStepLimits(options, spec);
  return limits.ok() && Excess(MeasureAll(*limits, memory), options, memory) <= 0;
}

int MemoryPlanner::FillMemory(const WorkerOptions& options, int fits, const MemorySource& memory,
                              const ModelSpec& spec) const {
  int most = fits / kernels::kKvBlockTokens;
  int too_many = options.kv_cache_tokens / kernels::kKvBlockTokens;
  WorkerOptions tried = options;
  while (too_many - most > 1) {
    const int middle = most + (too_many - most) / 2;
    tried.kv_cache_tokens = middle * kernels::kKvBlockTokens;
    (Fits(tried, memory, spec) ? most : too_many) = middle;
  }
  return most * kernels::kKvBlockTokens;
}

absl::StatusOr<StepLimits> MemoryPlanner::PlanGroup(const WorkerOptions& options,
                                                    const MemorySource& memory,
                                                    ModelSpec& spec) const {
  const ModelSpec unlimited = spec;
  WorkerOptions settled = options;
  const bool is_chosen_here = options.kv_cache_tokens == 0;
  if (is_chosen_here) settled.kv_cache_tokens = WantedKvCacheTokens(options, memory, spec);
  // A second round is needed if the KV cache has to be smaller: then the context that it limits,
  // and what depends on that, are smaller too. The third round is never needed.
  while (true) {
    spec = unlimited;
    RETURN_IF_ERROR(LimitContext(settled, spec));
    ASSIGN_OR_RETURN(const StepLimits limits, MakeStepLimits(settled, spec));
    const std::vector<RankBytes> ranks = MeasureAll(limits, memory);
    const int64_t excess = Excess(ranks, options, memory);
    if (excess <= 0) {
      LOG(INFO) << "memory: " << BytesText(Total(ranks)) << " for " << ranks.size()
                << (ranks.size() == 1 ? " rank" : " ranks") << " with a KV cache of "
                << settled.kv_cache_tokens << " tokens (" << DescribeKv(memory) << "), "
                << BytesText(memory.free.least())
                << (memory.of_each_rank ? " are free for each" : " are free");
      return limits;
    }
    const int most = MostKvCacheTokens(limits, excess, memory);
    const int least = options.context_tokens > 0
                          ? options.context_tokens
                          : std::min(kLeastContextTokens, unlimited.context_tokens);
    if (is_chosen_here && most >= least) {
      // What else depends on the context needs less then, so that there may be room for more.
      const int filled = FillMemory(settled, most, memory, unlimited);
      if (!memory.is_to_be_filled) {
        LOG(WARNING) << "the KV cache holds " << filled << " tokens in place of "
                     << settled.kv_cache_tokens << ": only " << BytesText(memory.free.least())
                     << " of memory are free";
      }
      settled.kv_cache_tokens = filled;
      continue;
    }
    return absl::ResourceExhaustedError(absl::StrCat(
        "the model does not fit into memory with a KV cache of ", settled.kv_cache_tokens,
        " tokens:", Table(ranks, memory), "\n  ", Advice(options, memory, most, least)));
  }
}

absl::Status MemoryPlanner::CheckRank(int rank, const StepLimits& limits,
                                      const MemorySource& memory) const {
  const RankBytes bytes = Measure(ranks_[rank], limits, memory);
  if (bytes.total() <= memory.free.least()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("this rank does not fit into memory:", Table({&bytes, 1}, memory),
                   "\n  give the leader a smaller --kv_cache_tokens, or use more ranks"));
}

std::string MemoryPlanner::Describe(int rank, const StepLimits& limits,
                                    const MemorySource& memory) const {
  const RankBytes bytes = Measure(ranks_[rank], limits, memory);
  return Table({&bytes, 1}, memory);
}

}  // namespace phalanx
