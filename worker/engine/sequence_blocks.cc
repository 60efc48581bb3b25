#include "worker/engine/sequence_blocks.h"

#include <algorithm>
#include <optional>

#include "absl/types/span.h"
#include "base/log.h"

namespace phalanx {

using kernels::kKvBlockTokens;

bool MaySharePrefix(const Sequence& a, const Sequence& b) {
  return a.caches && b.caches && a.rope.list == b.rope.list && a.cache_salt == b.cache_salt;
}

int CommonBlocks(const Sequence& a, const Sequence& b) {
  const int most = std::min(a.num_tokens() - a.unknown, b.num_tokens() - b.unknown);
  const auto end = a.tokens.begin() + most;
  const auto differs = std::mismatch(a.tokens.begin(), end, b.tokens.begin()).first;
  return static_cast<int>(differs - a.tokens.begin()) / kKvBlockTokens;
}

SequenceBlocks::SequenceBlocks(int kv_blocks) : pool_(kv_blocks) {}

int SequenceBlocks::leaving() const {
  return static_cast<int>(
      std::count_if(leaving_.begin(), leaving_.end(),
                    [this](const auto& leaving) { return pool_.references(leaving.second) == 1; }));
}

// Makes sure that the hashes of the first `count` blocks are there. Their tokens must be known.
void SequenceBlocks::Hash(Sequence& sequence, int count) {
  while (static_cast<int>(sequence.hashes.size()) < count) {
    const size_t index = sequence.hashes.size();
    const BlockHash parent =
        index == 0 ? hasher_.Root(sequence.rope.list, sequence.cache_salt) : sequence.hashes.back();
    const absl::Span<const int32_t> tokens =
        absl::MakeConstSpan(sequence.tokens).subspan(index * kKvBlockTokens, kKvBlockTokens);
    sequence.hashes.push_back(hasher_.Next(parent, tokens));
  }
}

SequenceBlocks::Hits SequenceBlocks::FindHits(Sequence& sequence) {
  Hits hits;
  if (!sequence.caches) return hits;
  // The last token is computed in any case: what follows it is drawn from its logits.
  const int most = (sequence.num_tokens() - 1) / kKvBlockTokens;
  while (hits.blocks < most) {
    Hash(sequence, hits.blocks + 1);
    const std::optional<BlockId> block = pool_.Find(sequence.hashes[hits.blocks]);
    if (!block.has_value()) break;
    ++hits.blocks;
    if (pool_.references(*block) > 0) ++hits.in_use;
  }
  return hits;
}

int SequenceBlocks::UnusedNeeded(Sequence& sequence) {
  if (!sequence.blocks.empty()) return sequence.missing_blocks();
  return sequence.missing_blocks() - FindHits(sequence).in_use;
}

void SequenceBlocks::Allocate(Sequence& sequence) {
  if (sequence.blocks.empty()) {
    const int hits = FindHits(sequence).blocks;
    // All hits before any new block, for which one of them might be evicted.
    for (int i = 0; i < hits; ++i) {
      const BlockId block = *pool_.Find(sequence.hashes[i]);
      pool_.Reference(block);
      sequence.blocks.push_back(block);
    }
    sequence.computed = hits * kKvBlockTokens;
    sequence.offered_blocks = hits;
  }
  for (int missing = sequence.missing_blocks(); missing > 0; --missing) {
    const std::optional<BlockId> block = pool_.Allocate();
    CHECK(block.has_value());
    sequence.blocks.push_back(*block);
  }
}

void SequenceBlocks::Offer(Sequence& sequence) {
  if (!sequence.caches) return;
  const int known = sequence.num_tokens() - sequence.unknown;
  const int complete = std::min(sequence.computed, known) / kKvBlockTokens;
  if (complete <= sequence.offered_blocks) return;
  Hash(sequence, complete);
  for (int& i = sequence.offered_blocks; i < complete; ++i) {
    pool_.Register(sequence.blocks[i], sequence.hashes[i]);
  }
}

// The last block goes first: what is released earlier is evicted earlier, and the end of a prefix
// is of no use without its beginning.
void SequenceBlocks::Release(Sequence& sequence) {
  Offer(sequence);
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) {
    if (sequence.last_step > resolved_steps_) {
      // Not all sequences have been in the latest step, but blocks leave in order.
      leaving_.emplace_back(planned_steps_, *block);
    } else {
      pool_.Release(*block);
    }
  }
  sequence.blocks.clear();
  sequence.blocks_told = 0;
  sequence.offered_blocks = 0;
}

void SequenceBlocks::ReleaseRest(Sequence& sequence) {
  for (; sequence.missing_blocks() < 0; sequence.blocks.pop_back()) {
    pool_.Release(sequence.blocks.back());
  }
  sequence.blocks_told = std::min(sequence.blocks_told, static_cast<int>(sequence.blocks.size()));
}

void SequenceBlocks::ReleaseLeaving() {
  while (!leaving_.empty() && leaving_.front().first <= resolved_steps_) {
    pool_.Release(leaving_.front().second);
    leaving_.pop_front();
  }
}

void SequenceBlocks::EndStep() {
  CHECK(in_flight() > 0);
  ++resolved_steps_;
  ReleaseLeaving();
}

void SequenceBlocks::DropInFlight() {
  resolved_steps_ = planned_steps_;
  ReleaseLeaving();
  pool_.ForgetAll();
}

void SequenceBlocks::Forget(const Sequence& sequence) {
  for (const BlockId block : sequence.blocks) pool_.Forget(block);
}

std::vector<int> SequenceBlocks::LeavingUsers() const {
  std::vector<int> users(static_cast<size_t>(pool_.total_blocks()) + 1);
  for (const auto& [step, block] : leaving_) ++users[static_cast<size_t>(block)];
  return users;
}

}  // namespace phalanx
