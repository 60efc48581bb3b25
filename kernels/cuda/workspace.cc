#include "kernels/cuda/workspace.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace phalanx::kernels::cuda {
namespace {

constexpr size_t kArrayAlignment = 256;

int MaxSegments(const WorkspaceLimits& limits) {
  return static_cast<int>((limits.max_blocks_per_seq * kKvBlockTokens + kSegmentTokens - 1) /
                          kSegmentTokens);
}

}  // namespace

size_t Workspace::Place(std::byte* base, const WorkspaceLimits& limits, bool uses_library) {
  size_t offset = 0;
  const auto take = [&](auto*& to, size_t count) {
    using T = std::remove_reference_t<decltype(*to)>;
    to = reinterpret_cast<T*>(base + offset);
    offset += (count * sizeof(T) + kArrayAlignment - 1) / kArrayAlignment * kArrayAlignment;
  };
  const auto rows = static_cast<size_t>(limits.max_seqs);
  take(shard_.maxima, rows);
  take(shard_.cuts, kCutKinds * rows);
  take(shard_.typical_sums, kTypicalSums * rows);
  take(shard_.sums, rows * kDigitValues);
  take(shard_.kept, rows);
  take(shard_.drawn, rows);
  take(log_prob_terms_, rows * kLogProbTerms);
  // All ranks are this one.
  shard_.sums_of_ranks = shard_.sums;
  shard_.kept_of_ranks = shard_.kept;
  attention_.max_segments = MaxSegments(limits);
  if (attention_.max_segments > 1) {
    take(attention_.partials,
         AttentionPartialBytes(limits.local_q_heads, limits.head_dim, attention_.max_segments) /
             sizeof(float));
    take(attention_.counters, static_cast<size_t>(kMaxSplitTokens * limits.local_q_heads));
  }
  if (uses_library) {
    std::byte* memory = nullptr;
    take(memory, kLibraryWorkspaceBytes);
    library_.workspace = memory;
    library_.product_floats = LibraryProductFloats(limits);
    take(library_.products, static_cast<size_t>(library_.product_floats));
  }
  return offset;
}

absl::StatusOr<std::unique_ptr<Workspace>> Workspace::Create(int device,
                                                             const WorkspaceLimits& limits,
                                                             bool uses_library) {
  auto memory = CudaBuffer::Create(device, Bytes(limits, uses_library), "workspace");
  if (!memory.ok()) return memory.status();
  auto workspace = std::unique_ptr<Workspace>(new Workspace);
  workspace->memory_ = *std::move(memory);
  workspace->limits_ = limits;
  workspace->Place(workspace->memory_->bytes_at(0), limits, uses_library);
  return workspace;
}

size_t Workspace::Bytes(const WorkspaceLimits& limits, bool uses_library) {
  Workspace measure;
  return measure.Place(nullptr, limits, uses_library);
}

SampleShard Workspace::ShardOf(Op op, int64_t rows, int64_t vocab) const {
  if (rows > limits_.max_seqs) {
    std::fprintf(stderr, "%s: %lld rows of logits, but workspace is reserved for %lld\n",
                 OpName(op), static_cast<long long>(rows),
                 static_cast<long long>(limits_.max_seqs));
    std::abort();
  }
  SampleShard shard = shard_;
  shard.vocab = vocab;
  return shard;
}

AttentionWorkspace Workspace::AttentionFor(int q_heads, int head_dim) const {
  AttentionWorkspace workspace = attention_;
  if (q_heads > limits_.local_q_heads || head_dim > limits_.head_dim) workspace.max_segments = 0;
  return workspace;
}

}  // namespace phalanx::kernels::cuda
