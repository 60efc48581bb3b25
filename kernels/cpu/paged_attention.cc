#include "kernels/cpu/paged_attention.h"

#include <algorithm>
#include <cmath>

namespace phalanx::kernels {
namespace {

// Rows that use a chunk of keys before the next one is read, where there is little to share out,
// and at most where sums are float32: their states stay in the first-level cache.
constexpr int kFewTileRows = 24;

// Segments of sequences are shared out while there are fewer tasks than this for each thread.
constexpr int kSplitTasksPerThread = 4;

// Query heads come in groups of any size up to local_q_heads; a tile has at least one token.
int64_t MaxTileRows(const AttentionKernels& kernels, const WorkspaceLimits& limits) {
  return std::max<int64_t>(kernels.tile_rows, limits.local_q_heads);
}

int64_t MaxSegments(const WorkspaceLimits& limits) {
  const int64_t tokens = limits.max_blocks_per_seq * kKvBlockTokens;
  return (tokens + kAttentionSegmentTokens - 1) / kAttentionSegmentTokens;
}

int64_t StateFloats(const WorkspaceLimits& limits) {
  return AttentionState::Floats(static_cast<int>(limits.head_dim));
}

// Each thread has the states of a tile twice, over all segments so far and over one, and then what
// the kernel works in.
int64_t ThreadStateFloats(const AttentionKernels& kernels, const WorkspaceLimits& limits) {
  return 2 * MaxTileRows(kernels, limits) * StateFloats(limits);
}
int64_t ThreadFloats(const AttentionKernels& kernels, const WorkspaceLimits& limits) {
  const int64_t states = ThreadStateFloats(kernels, limits);
  if (kernels.scratch_bytes == nullptr) return states;
  const int64_t bytes =
      kernels.scratch_bytes(MaxTileRows(kernels, limits), static_cast<int>(limits.head_dim));
  return states + bytes / static_cast<int64_t>(sizeof(float));
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
  AttentionTask TaskAt(const Place& at, float* scratch) const {
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
        .scale = scale,
        .scratch = reinterpret_cast<std::byte*>(scratch)};
  }
  float* OutOf(const Place& at, int row) const {
    return out.f32() + (at.first_token + row / group) * out.cols +
           (int64_t{at.kv_head} * group + row % group) * head_dim();
  }
};

// All segments of one task, one after the other. `states` are those of a tile twice.
void RunTask(const AttentionKernels& kernels, const Step& step, int64_t part, float* states,
             float* scratch) {
  const Step::Place place = step.PlaceOf(part);
  const AttentionTask task = step.TaskAt(place, scratch);
  const int head_dim = step.head_dim();
  float* const further = states + task.num_rows() * AttentionState::Floats(head_dim);
  kernels.segment(task, 0, states);
  for (int64_t segment = 1; segment < task.num_segments(); ++segment) {
    kernels.segment(task, segment, further);
    for (int row = 0; row < task.num_rows(); ++row) {
      kernels.merge(StateOf(further, row, head_dim), head_dim, StateOf(states, row, head_dim));
    }
  }
  for (int row = 0; row < task.num_rows(); ++row) {
    WriteRow(StateOf(states, row, head_dim), head_dim, step.OutOf(place, row));
  }
}

// Of a tile: as many as the kernels want, or fewer so that there are some tiles for each thread.
int TileTokens(const AttentionKernels& kernels, const StepBatch& batch, int group, int kv_heads,
               int num_threads) {
  const int most = std::max(1, kernels.tile_rows / group);
  const int least = std::max(1, std::min(most, kFewTileRows / group));
  const int64_t even =
      int64_t{batch.num_tokens} * kv_heads / (int64_t{kSplitTasksPerThread} * num_threads);
  return static_cast<int>(std::clamp<int64_t>(even, least, most));
}

}  // namespace

AttentionKernels Float32Attention(void (*segment)(const AttentionTask&, int64_t, float*)) {
  return {.segment = segment, .merge = Merge, .tile_rows = kFewTileRows, .scratch_bytes = nullptr};
}

size_t PagedAttentionRunner::ScratchBytes(const AttentionKernels& kernels,
                                          const WorkspaceLimits& limits, int num_threads) {
  const int64_t floats =
      num_threads * ThreadFloats(kernels, limits) + SplitFloats(limits, num_threads);
  return static_cast<size_t>(floats) * sizeof(float);
}

PagedAttentionRunner::PagedAttentionRunner(const AttentionKernels& kernels,
                                           const WorkspaceLimits& limits, float* scratch,
                                           ThreadTeam* team)
    : kernels_(kernels), limits_(limits), scratch_(scratch), team_(*team) {}

void PagedAttentionRunner::Run(const StepBatch& batch, Tensor qkv, int local_q_heads, float scale,
                               const KvArena& cache, int layer, Tensor out) {
  const int kv_heads = cache.shape().num_kv_heads;
  const int group = local_q_heads / kv_heads;
  const Step step = {
      .batch = batch,
      .qkv = qkv,
      .scale = scale,
      .cache = cache,
      .layer = layer,
      .group = group,
      .tile_tokens = TileTokens(kernels_, batch, group, kv_heads, team_.num_threads()),
      .out = out};
  const int64_t tasks = step.NumTasks();
  const int64_t segments = MostSegments(batch);
  const int64_t thread_floats = ThreadFloats(kernels_, limits_);
  const int64_t thread_states = ThreadStateFloats(kernels_, limits_);
  const auto states_of_thread = [&](int thread) { return scratch_ + thread * thread_floats; };
  const bool splits = batch.num_tokens == batch.num_seqs && segments > 1 &&
                      tasks < int64_t{kSplitTasksPerThread} * team_.num_threads();
  if (!splits) {
    team_.RunOnThreads(static_cast<uint32_t>(tasks), [&](uint32_t part, int thread) {
      float* const states = states_of_thread(thread);
      RunTask(kernels_, step, part, states, states + thread_states);
    });
    return;
  }
  float* const split = states_of_thread(team_.num_threads());
  const auto states_of = [&](int64_t task, int64_t segment) {
    return split + (task * segments + segment) * group * AttentionState::Floats(step.head_dim());
  };
  team_.RunOnThreads(static_cast<uint32_t>(tasks * segments), [&](uint32_t part, int thread) {
    const AttentionTask task =
        step.TaskAt(step.PlaceOf(part / segments), states_of_thread(thread) + thread_states);
    const int64_t segment = part % segments;
    if (segment < task.num_segments()) {
      kernels_.segment(task, segment, states_of(part / segments, segment));
    }
  });
  team_.Run(static_cast<uint32_t>(tasks), [&](uint32_t part) {
    const Step::Place place = step.PlaceOf(part);
    const int64_t count = step.TaskAt(place, nullptr).num_segments();
    for (int row = 0; row < group; ++row) {
      const AttentionState total = StateOf(states_of(part, 0), row, step.head_dim());
      for (int64_t segment = 1; segment < count; ++segment) {
        kernels_.merge(StateOf(states_of(part, segment), row, step.head_dim()), step.head_dim(),
                       total);
      }
      WriteRow(total, step.head_dim(), step.OutOf(place, row));
    }
  });
}

}  // namespace phalanx::kernels
