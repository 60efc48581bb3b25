// A sequence as the scheduler keeps it; a detail of Scheduler and StepWriter.
#ifndef PHALANX_WORKER_ENGINE_SEQUENCE_H_
#define PHALANX_WORKER_ENGINE_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/step_batch.h"
#include "model/generation/sampling.h"
#include "model/spec/long_rope.h"
#include "worker/engine/speculation.h"
#include "worker/engine/token_rules.h"
#include "worker/kv_cache/block_hash.h"
#include "worker/kv_cache/block_pool.h"

namespace phalanx {

// Numbers sequences in order of arrival.
enum class SequenceId : uint64_t {};

inline int BlocksFor(int64_t num_tokens) {
  return static_cast<int>((num_tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens);
}

// Orders sequences, the one that goes first before the others: see worker/engine/wait_queue.h.
struct Rank {
  // The time of arrival, moved by the priority.
  absl::Time time;
  SequenceId id{};

  friend bool operator<(const Rank& a, const Rank& b) {
    return a.time != b.time ? a.time < b.time : a.id < b.id;
  }
};

struct Tenant;

// Everything here counts planned steps as if they had been computed.
struct Sequence {
  SequenceId id{};
  Sampling sampling;
  uint64_t seed = 0;
  RopePlan rope;
  bool score = false;
  // Whether tokens are drawn. If not, the prompt is scored and that is all.
  bool draws = true;
  int prompt_tokens = 0;
  // How many of the likeliest tokens are told with each, or kernels::kNoLogProbs.
  int32_t log_probs = kernels::kNoLogProbs;
  // Null if there are none.
  std::unique_ptr<TokenRules> rules = nullptr;
  // Null if its next tokens are not to be guessed. Together with rules that can look ahead only.
  std::unique_ptr<Speculation> speculation = nullptr;
  // How many tokens have been scored. The first is never scored, so the next is tokens[scored + 1].
  int scored = 0;
  // Of these, how many have their scores from steps that are resolved.
  int scores_known = 0;
  // The prompt, then what was drawn: kLastToken for each token whose step is still in flight. A
  // draft, whose tokens may turn out to be others, stands before that.
  std::vector<int32_t> tokens;
  // Of these, how many at the end are kLastToken or a draft.
  int unknown = 0;
  // No token is drawn when there are this many.
  int64_t max_tokens = 0;
  // How many of `tokens` are in the KV cache.
  int computed = 0;
  // Its row in the block tables while it runs.
  int slot = -1;
  // The sequence's share of the KV cache, in order of position. A running sequence has none after
  // it has outgrown its rotary list, until the next plan.
  std::vector<BlockId> blocks;
  // How many of them the ranks know.
  int blocks_told = 0;
  // Whether it takes blocks from the prefix cache and leaves its own there.
  bool caches = false;
  std::string cache_salt = {};
  // Of its whole blocks, in order, as far as they have been needed. They hold for `rope.list`.
  std::vector<BlockHash> hashes;
  // How many of `blocks` the cache knows, or knows others of the same content: those before this
  // are not written to any more.
  int offered_blocks = 0;
  // The plan that it had before it outgrew its rotary list; none if it has not.
  std::optional<RopePlan> outgrown_rope = std::nullopt;
  // Number of the latest step that it is part of; 0 for none.
  uint64_t last_step = 0;
  Rank rank;
  // Kept by WaitQueue: whose it is, and whether its prompt still waits for its tenant's turns.
  Tenant* tenant = nullptr;
  bool in_queue = false;
  // Its first token must be there by then.
  absl::Time deadline = absl::InfiniteFuture();
  // While it waits: tokens that will have to be computed for it, as far as that could be told when
  // it came. Others have or will have computed the rest.
  int own_tokens = 0;
  // It is too late for that: nothing is computed for it, and its owner is to remove it.
  bool late = false;
  // It was cut short after it had begun: it lost its blocks, or has outgrown its rotary list. What
  // it had is computed again before any prompt.
  bool resumes = false;
  // Its tokens in the plan that is being made, and how many of them, at the end, are a draft.
  int granted = 0;
  int drafted = 0;
  // While not 0: it waits until `awaited_sequence`, which begins with the same blocks, has offered
  // that many of them.
  int awaited_blocks = 0;
  SequenceId awaited_sequence{};

  // Takes memory for what it grows by, so that most answers need none while they grow.
  void Reserve() {
    constexpr int64_t kMostNewTokens = 1024;
    const int64_t most = std::min(max_tokens, int64_t{num_tokens()} + kMostNewTokens);
    tokens.reserve(most);
    blocks.reserve(BlocksFor(most));
    hashes.reserve(BlocksFor(most));
  }

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  absl::Span<const int32_t> known_tokens() const {
    return absl::MakeConstSpan(tokens).first(tokens.size() - unknown);
  }
  // Tokens that are still to be computed. Of a prompt that is only scored the last is not: its
  // logits would tell about a token that follows, and none does.
  int pending() const { return num_tokens() - (draws ? 0 : 1) - computed; }
  // One token is pending: the one that was drawn last, or the last of a prompt. The step takes
  // these before longer chunks, so that none waits behind another sequence's prompt.
  bool decodes() const { return pending() == 1; }
  // Whether the first block of its table is yet to be told: it has lost its blocks, or never ran.
  bool begins() const { return blocks_told == 0; }
  int missing_blocks() const { return BlocksFor(num_tokens()) - static_cast<int>(blocks.size()); }
  // All of its steps are planned. It stays until its owner has their results and removes it.
  bool all_planned() const { return draws ? num_tokens() >= max_tokens : pending() == 0; }
  // Whether the next step may compute more of it. One token may be unknown: it is the last one, and
  // the step before draws it for the slot, whose table must not begin anew for that. A draft must
  // know it, which is worth waiting for: it gives several tokens.
  bool can_advance() const {
    if (all_planned()) return false;
    return unknown == 0 || (unknown == 1 && !begins() && !has_draft());
  }
  // The most edits that the logits of its next draw may have when all tokens before it are known:
  // a token adds one at most.
  int most_edits() const { return rules == nullptr ? 0 : rules->num_edits() + unknown; }
  // Whether its text so far tells how it may go on.
  bool has_draft() const { return speculation != nullptr && speculation->has_draft(); }
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SEQUENCE_H_
