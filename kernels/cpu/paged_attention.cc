#include "kernels/cpu/paged_attention.h"

#include <algorithm>
#include <cmath>

namespace phalanx::kernels {
namespace {

// Rows that use a chunk of keys before the next one is read. Their states stay in the first-level
// cache.
constexpr int kTileRows = 24;

// Segments of sequences are shared out while there are fewer tasks than this for each thread.
constexpr int kSplitTasksPerThread = 4;

// Query heads come in groups of any size up to local_q_heads; a tile has at least one token.
int64_t MaxTileRows(const WorkspaceLimits& limits) {
  return std::max<int64_t>(kTileRows, limits.local_q_heads);
}

int64_t MaxSegments(const WorkspaceLimits& limits) {
  const int64_t tokens = limits.max_blocks_per_seq * kKvBlockTokens;
  return (tokens + kAttentionSegmentTokens - 1) / kAttentionSegmentTokens;
}

int64_t StateFloats(const WorkspaceLimits& limits) {
  return AttentionState::Floats(static_cast<int>(limits.head_dim));
}

// Each thread has the states of a tile twice: over all segments so far, and over one.
int64_t ThreadFloats(const WorkspaceLimits& limits) {
  return 2 * MaxTileRows(limits) * StateFloats(limits);
}

// The states of all segments of the tasks that share out their segments.
int64_t SplitFloats(const WorkspaceLimits& limits, int num_threads) {
  return int64_t{kSplitTasksPerThread} * num_threads * limits.local_q_heads * MaxSegments(limits) *
         StateFloats(limits);
}

// Adds the state over further keys to that over earlier ones.
void Merge(AttentionState further, int head_dim, AttentionState total) {
  if (further.sum() == 0.0f) return;  // No keys.
  const float max = std::max(total.max(), further.max());
  const float kept = total.sum() == 0.0f ? 0.0f : std::exp(total.max() - max);
  const float added = std::exp(further.max() - max);
  total.max() = max;
  total.sum() = total.sum() * kept + further.sum() * added;
  for (int d = 0; d < head_dim; ++d) {
    total.values()[d] = total.values()[d] * kept + further.values()[d] * added;
  }
}

AttentionState StateOf(float* states, int64_t row, int head_dim) {
  return {states + row * AttentionState::Floats(head_dim)};
}

void WriteRow(AttentionState state, int head_dim, float* out) {
  const float inverse = 1.0f / state.sum();
  for (int d = 0; d < head_dim; ++d) out[d] = state.values()[d] * inverse;
}

// Segments of the sequence that has most.
int64_t MostSegments(const StepBatch& batch) {
  int64_t most = 0;
  for (int t = 0; t < batch.num_tokens; ++t) {
    most = std::max<int64_t>(most, batch.positions[t] / kAttentionSegmentTokens + 1);
  }
  return most;
}

// All of a step that does not differ between its tasks.
struct Step {
  const StepBatch& batch;
  Tensor qkv;
  float scale;
  const KvArena& cache;
  int layer;
  int group;        // Query heads of a KV head.
  int tile_tokens;  // Of a tile, at most.
  Tensor out;

  int kv_heads() const { return cache.shape().num_kv_heads; }
  int head_dim() const { return cache.shape().head_dim; }

  int64_t TilesOf(int seq) const {
    const int tokens = batch.query_starts[seq + 1] - batch.query_starts[seq];
    return (tokens + tile_tokens - 1) / tile_tokens;
  }
  int64_t NumTasks() const {
    int64_t tiles = 0;
    for (int s = 0; s < batch.num_seqs; ++s) tiles += TilesOf(s);
    return tiles * kv_heads();
  }

  // Where a task stands in the batch.
  struct Place {
    int seq;
    int first_token;
    int num_tokens;
    int kv_head;
  };
  Place PlaceOf(int64_t task) const {
    int64_t tile = task / kv_heads();
    int seq = 0;
    for (; tile >= TilesOf(seq); ++seq) tile -= TilesOf(seq);
    const int first = batch.query_starts[seq] + static_cast<int>(tile) * tile_tokens;
    return {.seq = seq,
            .first_token = first,
            .num_tokens = std::min(tile_tokens, batch.query_starts[seq + 1] - first),
            .kv_head = static_cast<int>(task % kv_heads())};
  }
  AttentionTask TaskAt(const Place& at) const {
    return {
        .query = qkv.f32() + at.first_token * qkv.cols + int64_t{at.kv_head} * group * head_dim(),
        .query_stride = qkv.cols,
        .num_tokens = at.num_tokens,
        .num_heads = group,
        .head_dim = head_dim(),
        .num_keys = batch.positions[at.first_token] + 1,
        .blocks = batch.block_tables + int64_t{batch.slots[at.seq]} * batch.max_blocks_per_seq,
        .dtype = cache.shape().dtype,
        .keys = cache.keys(layer, at.kv_head),
        .values = cache.values(layer, at.kv_head),
        .scales = cache.scales(layer, at.kv_head),
        .block_stride = cache.block_stride(),
        .scale = scale};
  }
  float* OutOf(const Place& at, int row) const {
    return out.f32() + (at.first_token + row / group) * out.cols +
           (int64_t{at.kv_head} * group + row % group) * head_dim();
  }
};

// All segments of one task, one after the other. `scratch` has the states of a tile twice.
void RunTask(PagedAttentionRunner::Kernel kernel, const Step& step, int64_t part, float* scratch) {
  const Step::Place place = step.PlaceOf(part);
  const AttentionTask task = step.TaskAt(place);
  const int head_dim = step.head_dim();
  float* const further = scratch + task.num_rows() * AttentionState::Floats(head_dim);
  kernel(task, 0, scratch);
  for (int64_t segment = 1; segment < task.num_segments(); ++segment) {
    kernel(task, segment, further);
    for (int row = 0; row < task.num_rows(); ++row) {
      Merge(StateOf(further, row, head_dim), head_dim, StateOf(scratch, row, head_dim));
    }
  }
  for (int row = 0; row < task.num_rows(); ++row) {
    WriteRow(StateOf(scratch, row, head_dim), head_dim, step.OutOf(place, row));
  }
}

}  // namespace

size_t PagedAttentionRunner::ScratchBytes(const WorkspaceLimits& limits, int num_threads) {
  const int64_t floats = num_threads * ThreadFloats(limits) + SplitFloats(limits, num_threads);
  return static_cast<size_t>(floats) * sizeof(float);
}

PagedAttentionRunner::PagedAttentionRunner(Kernel kernel, const WorkspaceLimits& limits,
                                           float* scratch, ThreadTeam* team)
    : kernel_(kernel), limits_(limits), scratch_(scratch), team_(*team) {}

void PagedAttentionRunner::Run(const StepBatch& batch, Tensor qkv, int local_q_heads, float scale,
                               const KvArena& cache, int layer, Tensor out) {
  const int group = local_q_heads / cache.shape().num_kv_heads;
  const Step step = {.batch = batch,
                     .qkv = qkv,
                     .scale = scale,
                     .cache = cache,
                     .layer = layer,
                     .group = group,
                     .tile_tokens = std::max(1, kTileRows / group),
                     .out = out};
  const int64_t tasks = step.NumTasks();
  const int64_t segments = MostSegments(batch);
  const bool splits = batch.num_tokens == batch.num_seqs && segments > 1 &&
                      tasks < int64_t{kSplitTasksPerThread} * team_.num_threads();
  if (!splits) {
    team_.RunOnThreads(static_cast<uint32_t>(tasks), [&](uint32_t part, int thread) {
      RunTask(kernel_, step, part, scratch_ + thread * ThreadFloats(limits_));
    });
    return;
  }
  float* const split = scratch_ + team_.num_threads() * ThreadFloats(limits_);
  const auto states_of = [&](int64_t task, int64_t segment) {
    return split + (task * segments + segment) * group * AttentionState::Floats(step.head_dim());
  };
  team_.Run(static_cast<uint32_t>(tasks * segments), [&](uint32_t part) {
    const AttentionTask task = step.TaskAt(step.PlaceOf(part / segments));
    const int64_t segment = part % segments;
    if (segment < task.num_segments()) kernel_(task, segment, states_of(part / segments, segment));
  });
  team_.Run(static_cast<uint32_t>(tasks), [&](uint32_t part) {
    const Step::Place place = step.PlaceOf(part);
    const int64_t count = step.TaskAt(place).num_segments();
    for (int row = 0; row < group; ++row) {
      const AttentionState total = StateOf(states_of(part, 0), row, step.head_dim());
      for (int64_t segment = 1; segment < count; ++segment) {
        Merge(StateOf(states_of(part, segment), row, step.head_dim()), step.head_dim(), total);
      }
      WriteRow(total, step.head_dim(), step.OutOf(place, row));
    }
  });
}

}  // namespace phalanx::kernels
