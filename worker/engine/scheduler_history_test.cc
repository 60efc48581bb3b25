// A million random calls of a scheduler with a prefix cache. Steps are carried out on an arena that
// notes what each position of each block holds: token, rotary list and salt. Every sequence must
// find its own history there whenever a token of it is computed, whoever wrote it, and is drawn by
// the mask and the penalties that follow from its tokens, also where the step was planned before
// these were known. No block is lost or has two owners, and no step is larger than it may be.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "kernels/step_batch.h"
#include "model/spec/long_rope.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/testing/histories.h"
#include "worker/engine/token_rules.h"
#include "worker/step/check_step.h"
#include "worker/step/step.h"

namespace phalanx {
namespace {

using kernels::kKvBlockTokens;

constexpr int kVocab = 60;
constexpr int kMaxSeqTokens = 128;

// Which tokens may follow an answer, by all that it has so far.
uint64_t MaskAfter(absl::Span<const int32_t> answer) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int32_t token : answer) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001b3;
  return (HistoryRandom(hash)() | 1) & ((uint64_t{1} << kVocab) - 1);
}

class HashFilter final : public TokenFilter {
 public:
  int mask_words() const override { return static_cast<int>(kernels::MaskWords(kVocab)); }
  void WriteMask(absl::Span<uint32_t> words) override {
    const uint64_t mask = MaskAfter(answer_);
    words[0] = static_cast<uint32_t>(mask);
    words[1] = static_cast<uint32_t>(mask >> 32);
  }
  void Accept(int32_t token) override {
    if ((MaskAfter(answer_) >> token & 1) == 0) status_ = absl::InvalidArgumentError("forbidden");
    answer_.push_back(token);
  }
  absl::Status status() const override { return status_; }
  std::unique_ptr<TokenFilter> Copy() const override { return std::make_unique<HashFilter>(*this); }

 private:
  std::vector<int32_t> answer_;
  absl::Status status_;
};

class History {
 public:
  explicit History(uint64_t seed) : random_(seed) {
    limits_.max_seqs = Draw(1, 6);
    limits_.max_step_tokens = limits_.max_seqs + Draw(0, 60);
    limits_.max_blocks_per_seq = kMaxSeqTokens / kKvBlockTokens;
    limits_.kv_blocks = Draw(2, 24);
    max_in_flight_ = Draw(1, 2);
    prefix_cache_ = Draw(0, 9) > 0;
    scheduler_ = std::make_unique<Scheduler>(limits_, prefix_cache_);
    checker_ = std::make_unique<StepChecker>(limits_, kVocab, /*rope_lists=*/2);
    tables_.resize(limits_.max_seqs);
    last_tokens_.resize(limits_.max_seqs);
    arena_.resize(static_cast<size_t>(limits_.kv_blocks + 1) * kKvBlockTokens, -1);
    texts_.push_back(RandomTokens(kMaxSeqTokens));
  }

  void Run(const HistoryInput& input) {
    for (const uint64_t operation : input.operations) {
      if (::testing::Test::HasFatalFailure()) return;
      random_ = HistoryRandom(operation);
      const int choice = Draw(0, 19);
      if (input.tell) std::cout << "choice " << choice << ", " << sequences_.size() << " there\n";
      if (choice < 2) {
        Add();
      } else if (choice == 2 && Draw(0, 2) == 0) {
        RemoveAny();
      } else if (choice == 3 && Draw(0, 49) == 0) {
        LoseARank();
      } else if (choice < 12) {
        Plan();
      } else {
        Resolve();
      }
      Check();
    }
    while (!sequences_.empty()) Remove(sequences_.begin()->first);
    while (!in_flight_.empty()) Resolve();
    Check();
    EXPECT_EQ(scheduler_->used_blocks(), 0) << "blocks have leaked";
  }

  int64_t calls() const { return calls_; }
  int64_t cached_tokens() const { return cached_tokens_; }
  int64_t evictions() const { return scheduler_->evictions(); }
  int64_t preemptions() const { return preemptions_; }
  int64_t drafted_tokens() const { return drafted_tokens_; }
  int64_t accepted_tokens() const { return accepted_tokens_; }
  int64_t split_steps() const { return split_steps_; }
  int64_t checked_masks() const { return checked_masks_; }

 private:
  struct Truth {
    std::vector<int32_t> tokens;
    int prompt_tokens = 0;
    int max_new_tokens = 0;
    RopePlan rope;
    bool score = false;
    bool has_mask = false;
    bool has_penalty = false;
    int salt = 0;
    int scores = 0;
    bool seen = false;
  };
  struct PendingChunk {
    PlannedChunk chunk;
    std::vector<int32_t> blocks;
    int salt = 0;
    bool live = true;
  };
  struct PendingStep {
    StepPlan plan;
    std::vector<PendingChunk> chunks;
  };

  int Draw(int low, int high) { return random_.Draw(low, high); }

  std::vector<int32_t> RandomTokens(int count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = Draw(0, kVocab - 1);
    return tokens;
  }

  // Begins like one of a few texts, which are earlier prompts and answers.
  std::vector<int32_t> NewPrompt(int most_tokens) {
    std::vector<int32_t> prompt = texts_[Draw(0, static_cast<int>(texts_.size()) - 1)];
    prompt.resize(std::min<size_t>(prompt.size(), Draw(0, most_tokens)));
    if (prompt.empty() || Draw(0, 1) == 0) {
      for (const int32_t token : RandomTokens(Draw(1, 40))) prompt.push_back(token);
    }
    prompt.resize(std::min<size_t>(prompt.size(), most_tokens));
    return prompt;
  }

  void Remember(const std::vector<int32_t>& text) {
    if (texts_.size() < 5) {
      texts_.push_back(text);
    } else {
      texts_[Draw(0, 4)] = text;
    }
  }

  void Add() {
    if (sequences_.size() > 12) return;
    ++calls_;
    const int most = std::min(kMaxSeqTokens, limits_.kv_blocks * kKvBlockTokens);
    Truth truth;
    truth.tokens = NewPrompt(most - 1);
    truth.prompt_tokens = static_cast<int>(truth.tokens.size());
    truth.score = truth.prompt_tokens > 1 && Draw(0, 5) == 0;
    truth.max_new_tokens = truth.score ? 0 : Draw(1, std::min(80, most - truth.prompt_tokens));
    truth.rope = PlanRope(Draw(0, 1) == 0 ? LongRopePolicy::kAdmission : LongRopePolicy::kReference,
                          Draw(0, 1) == 0 ? 0 : 64, truth.prompt_tokens, truth.max_new_tokens);
    truth.salt = Draw(0, 2);
    truth.has_mask = !truth.score && Draw(0, 2) == 0;
    truth.has_penalty = !truth.score && Draw(0, 2) == 0;
    const Sampling sampling = {.frequency_penalty = truth.has_penalty ? 0.5f : 0.0f};
    const SequenceId id{next_id_++};
    scheduler_->Add(
        id, {.prompt_token_ids = truth.tokens,
             .max_new_tokens = truth.max_new_tokens,
             .sampling = sampling,
             .seed = 1,
             .rope = truth.rope,
             .score = truth.score,
             .cache_salt = truth.salt == 0 ? "" : absl::StrCat("salt ", truth.salt),
             .priority = Draw(0, 1) == 0 ? 0 : Draw(kMinPriority, kMaxPriority),
             .tenant = absl::StrCat("tenant ", Draw(0, 1) == 0 ? 0 : Draw(0, 3)),
             .arrival = now_,
             .rules = TokenRules::Create(sampling, {}, {}, truth.tokens,
                                         truth.has_mask ? std::make_unique<HashFilter>() : nullptr),
             .max_draft_tokens = Draw(0, 1) == 0 ? 0 : Draw(1, 8)});
    now_ += absl::Milliseconds(Draw(0, 2000));
    sequences_.emplace(id, std::move(truth));
  }

  void RemoveAny() {
    if (sequences_.empty()) return;
    auto it = sequences_.begin();
    std::advance(it, Draw(0, static_cast<int>(sequences_.size()) - 1));
    Remove(it->first);
  }

  void Remove(SequenceId id) {
    ++calls_;
    for (PendingStep& step : in_flight_) {
      for (PendingChunk& pending : step.chunks) pending.live &= pending.chunk.id != id;
    }
    scheduler_->Remove(id, /*sound=*/Draw(0, 9) > 0);
    if (Draw(0, 2) == 0) Remember(sequences_.at(id).tokens);
    sequences_.erase(id);
  }

  void Plan() {
    if (static_cast<int>(in_flight_.size()) == max_in_flight_) return;
    ++calls_;
    PendingStep step = {.plan = scheduler_->Plan(now_), .chunks = {}};
    preemptions_ += step.plan.preemptions;
    if (step.plan.chunks.empty()) {
      ASSERT_TRUE(sequences_.empty() || !in_flight_.empty()) << "nothing goes on";
      return;
    }
    ASSERT_EQ(checker_->CheckForward(step.plan.step.forward), absl::OkStatus());
    const StepBlock::ConstArrays arrays = std::as_const(step.plan.step.forward).arrays();
    for (const kernels::TableEntry& entry : arrays.table_entries) {
      std::vector<int32_t>& table = tables_[entry.slot];
      table.resize(entry.index);
      table.push_back(entry.block);
    }
    for (size_t seq = 0; seq < step.plan.chunks.size(); ++seq) {
      const PlannedChunk& chunk = step.plan.chunks[seq];
      Truth& truth = sequences_.at(chunk.id);
      ASSERT_NO_FATAL_FAILURE(CheckCachedTokens(chunk, truth));
      const std::vector<int32_t>& table = tables_[arrays.slots[seq]];
      const int blocks = (arrays.kv_lengths[seq] + kKvBlockTokens - 1) / kKvBlockTokens;
      step.chunks.push_back(
          {.chunk = chunk, .blocks = {table.begin(), table.begin() + blocks}, .salt = truth.salt});
    }
    ASSERT_NO_FATAL_FAILURE(CheckWrites(step));
    if (!step.plan.sampling_follows) {
      ASSERT_EQ(checker_->CheckSampling(step.plan.step.sampling), absl::OkStatus());
    }
    in_flight_.push_back(std::move(step));
    WriteSamplingIfDue();
  }

  // Of the step that is to be resolved next: all before it is known.
  void WriteSamplingIfDue() {
    if (in_flight_.empty() || !in_flight_.front().plan.sampling_follows) return;
    PendingStep& step = in_flight_.front();
    ++split_steps_;
    scheduler_->WriteSampling(step.plan);
    ASSERT_EQ(checker_->CheckSampling(step.plan.step.sampling), absl::OkStatus());
    for (size_t seq = 0; seq < step.chunks.size(); ++seq) {
      step.chunks[seq].chunk = step.plan.chunks[seq];
    }
  }

  // With what is in flight, and all that was computed.
  void LoseARank() {
    ++calls_;
    in_flight_.clear();
    scheduler_->BeginAnew();
    checker_ = std::make_unique<StepChecker>(limits_, kVocab, /*rope_lists=*/2);
    for (std::vector<int32_t>& table : tables_) table.clear();
    std::fill(arena_.begin(), arena_.end(), -1);
  }

  // A row asks for what follows from the tokens so far and those that are guessed before it.
  void CheckRow(const Truth& truth, absl::Span<const int32_t> guessed,
                const SamplingBlock::ConstArrays& rows, size_t row) {
    std::vector<int32_t> answer(truth.tokens.begin() + truth.prompt_tokens, truth.tokens.end());
    answer.insert(answer.end(), guessed.begin(), guessed.end());
    const kernels::SamplingRow& sampling = rows.sampling[row];
    ASSERT_EQ(sampling.position, truth.prompt_tokens + static_cast<int>(answer.size()));
    ASSERT_EQ(sampling.mask_begin != kernels::kNoMask, truth.has_mask);
    if (truth.has_mask) {
      const uint64_t mask = MaskAfter(answer);
      ASSERT_EQ(rows.mask_words[sampling.mask_begin], static_cast<uint32_t>(mask));
      ASSERT_EQ(rows.mask_words[sampling.mask_begin + 1], static_cast<uint32_t>(mask >> 32));
      ++checked_masks_;
    }
    std::map<int32_t, int32_t> counts;
    if (truth.has_penalty) {
      for (const int32_t token : answer) ++counts[token];
    }
    ASSERT_EQ(sampling.edits_end - sampling.edits_begin, static_cast<int>(counts.size()));
    for (int edit = sampling.edits_begin; edit < sampling.edits_end; ++edit) {
      ASSERT_EQ(rows.edits[edit].count, counts[rows.edits[edit].token]);
    }
  }

  void CheckCachedTokens(const PlannedChunk& chunk, Truth& truth) {
    const bool first = !std::exchange(truth.seen, true);
    ASSERT_EQ(chunk.cached_tokens % kKvBlockTokens, 0);
    ASSERT_LT(chunk.cached_tokens, truth.prompt_tokens);
    if (!first || truth.score || !prefix_cache_) {
      ASSERT_EQ(chunk.cached_tokens, 0);
    }
    cached_tokens_ += chunk.cached_tokens;
  }

  // No block that a sequence writes to is in the table of another one, in this step or in one in
  // flight.
  void CheckWrites(const PendingStep& step) {
    std::map<int32_t, std::set<SequenceId>> users;
    const auto note = [&](const PendingStep& each) {
      for (const PendingChunk& pending : each.chunks) {
        for (const int32_t block : pending.blocks) users[block].insert(pending.chunk.id);
      }
    };
    for (const PendingStep& each : in_flight_) note(each);
    note(step);
    const StepBlock::ConstArrays arrays = step.plan.step.forward.arrays();
    for (size_t token = 0; token < arrays.positions.size(); ++token) {
      const PendingChunk& pending = step.chunks[arrays.seq_of_token[token]];
      const int32_t block = pending.blocks[arrays.positions[token] / kKvBlockTokens];
      ASSERT_EQ(users[block].size(), 1u) << "block " << block << " is written to and shared";
    }
  }

  // Carries out the oldest step, as late as can be, and books its result.
  void Resolve() {
    if (in_flight_.empty()) return;
    ++calls_;
    PendingStep step = std::move(in_flight_.front());
    in_flight_.pop_front();
    const StepBlock::ConstArrays arrays = std::as_const(step.plan.step.forward).arrays();
    for (size_t token = 0; token < arrays.positions.size(); ++token) {
      const int seq = arrays.seq_of_token[token];
      int32_t id = arrays.token_ids[token];
      if (id == kernels::kLastToken) id = last_tokens_[arrays.slots[seq]];
      Cell(step.chunks[seq], arrays.positions[token]) =
          Content(id, arrays.rope_lists[seq], step.chunks[seq].salt);
    }
    std::vector<int32_t> drawn;
    const SamplingBlock::ConstArrays rows = std::as_const(step.plan.step.sampling).arrays();
    for (size_t seq = 0; seq < step.chunks.size(); ++seq) {
      const PendingChunk& pending = step.chunks[seq];
      if (pending.live) {
        ASSERT_NO_FATAL_FAILURE(CheckContents(pending, arrays.rope_lists[seq],
                                              arrays.kv_lengths[seq] - pending.chunk.num_drafted));
      }
      const absl::Span<const int32_t> draft =
          arrays.token_ids.first(arrays.query_starts[seq + 1]).last(pending.chunk.num_drafted);
      for (int i = 0; i < pending.chunk.num_draws(); ++i) {
        if (pending.live) {
          ASSERT_NO_FATAL_FAILURE(
              CheckRow(sequences_.at(pending.chunk.id), draft.first(i), rows, drawn.size()));
        }
        const int32_t wanted = DrawToken(pending, i < pending.chunk.num_drafted ? draft[i] : -1);
        drawn.push_back(Allowed(wanted, rows, drawn.size()));
        last_tokens_[arrays.slots[seq]] = drawn.back();
      }
    }
    scheduler_->Resolve(step.plan, drawn);
    absl::Span<const int32_t> tokens = drawn;
    for (size_t seq = 0; seq < step.chunks.size(); ++seq) {
      const PendingChunk& pending = step.chunks[seq];
      const absl::Span<const int32_t> draws = tokens.first(pending.chunk.num_draws());
      tokens.remove_prefix(draws.size());
      if (!pending.live) continue;
      const absl::Span<const int32_t> draft =
          arrays.token_ids.first(arrays.query_starts[seq + 1]).last(pending.chunk.num_drafted);
      int right = 0;
      while (right + 1 < pending.chunk.num_draws() && draws[right] == draft[right]) ++right;
      ASSERT_EQ(step.plan.chunks[seq].num_accepted, right);
      drafted_tokens_ += pending.chunk.num_drafted;
      accepted_tokens_ += right;
      ASSERT_NO_FATAL_FAILURE(
          Apply(pending.chunk, pending.chunk.draws ? draws.first(right + 1) : draws));
    }
    WriteSamplingIfDue();
  }

  // Guesses are right as a rule, and texts repeat themselves, so that there are some.
  int32_t DrawToken(const PendingChunk& pending, int32_t guess) {
    constexpr size_t kPeriod = 3;
    if (guess >= 0 && Draw(0, 3) > 0) return guess;
    if (pending.live && Draw(0, 3) > 0) {
      const std::vector<int32_t>& tokens = sequences_.at(pending.chunk.id).tokens;
      if (tokens.size() >= kPeriod) return tokens[tokens.size() - kPeriod];
    }
    return Draw(0, kVocab - 1);
  }

  // The first token from `token` on that the row's mask allows.
  static int32_t Allowed(int32_t token, const SamplingBlock::ConstArrays& rows, size_t row) {
    const int32_t begin = rows.sampling[row].mask_begin;
    if (begin == kernels::kNoMask) return token;
    while ((rows.mask_words[begin + token / 32] >> (token % 32) & 1) == 0) {
      token = (token + 1) % kVocab;
    }
    return token;
  }

  void Apply(const PlannedChunk& chunk, absl::Span<const int32_t> next) {
    Truth& truth = sequences_.at(chunk.id);
    if (chunk.draws) {
      ASSERT_EQ(chunk.draw_position, static_cast<int>(truth.tokens.size()));
      truth.tokens.insert(truth.tokens.end(), next.begin(), next.end());
    }
    truth.scores += chunk.num_scores;
    const int generated = static_cast<int>(truth.tokens.size()) - truth.prompt_tokens;
    ASSERT_LE(generated, truth.max_new_tokens);
    const bool done =
        truth.score ? truth.scores == truth.prompt_tokens - 1 : generated == truth.max_new_tokens;
    if (done) Remove(chunk.id);
  }

  // The first `length` positions of the sequence hold its tokens.
  void CheckContents(const PendingChunk& pending, int rope_list, int length) {
    const Truth& truth = sequences_.at(pending.chunk.id);
    const bool switched = truth.rope.switch_above_tokens > 0 &&
                          static_cast<int>(truth.tokens.size()) > truth.rope.switch_above_tokens;
    ASSERT_EQ(rope_list, switched ? kLongRopeList : truth.rope.list);
    ASSERT_LE(length, static_cast<int>(truth.tokens.size()));
    for (int i = 0; i < length; ++i) {
      ASSERT_EQ(Cell(pending, i), Content(truth.tokens[i], rope_list, truth.salt))
          << "position " << i << " of sequence " << static_cast<uint64_t>(pending.chunk.id);
    }
  }

  static int Content(int32_t token, int rope_list, int salt) {
    return (token * 2 + rope_list) * 3 + salt;
  }

  int& Cell(const PendingChunk& pending, int position) {
    const int32_t block = pending.blocks[position / kKvBlockTokens];
    return arena_[block * kKvBlockTokens + position % kKvBlockTokens];
  }

  void Check() {
    scheduler_->CheckReferences();
    ASSERT_GE(scheduler_->cached_blocks(), 0);
    ASSERT_LE(scheduler_->used_blocks() + scheduler_->cached_blocks(), limits_.kv_blocks);
    ASSERT_TRUE(prefix_cache_ || scheduler_->cached_blocks() == 0);
    if (!in_flight_.empty()) return;
    int64_t waiting_tokens = 0;
    for (const auto& [id, truth] : sequences_) {
      const Scheduler::Progress progress = scheduler_->ProgressOf(id);
      ASSERT_EQ(progress.known_tokens, static_cast<int>(truth.tokens.size()));
      if (!progress.running) waiting_tokens += progress.known_tokens;
    }
    ASSERT_EQ(scheduler_->waiting_tokens(), waiting_tokens);
  }

  HistoryRandom random_;
  StepLimits limits_;
  int max_in_flight_ = 1;
  bool prefix_cache_ = true;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<StepChecker> checker_;
  std::vector<std::vector<int32_t>> texts_;
  // By slot.
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int32_t> last_tokens_;
  std::vector<int> arena_;
  std::map<SequenceId, Truth> sequences_;
  std::deque<PendingStep> in_flight_;
  uint64_t next_id_ = 0;
  absl::Time now_ = absl::UnixEpoch();
  int64_t calls_ = 0;
  int64_t cached_tokens_ = 0;
  int64_t preemptions_ = 0;
  int64_t drafted_tokens_ = 0;
  int64_t accepted_tokens_ = 0;
  int64_t split_steps_ = 0;
  int64_t checked_masks_ = 0;
};

TEST(SchedulerHistoryTest, EverySequenceFindsItsOwnHistoryInAMillionCalls) {
  const auto [calls, cached_tokens, evictions, preemptions, drafted, accepted, split,
              masks] = RunHistories(900, 2000, [](const HistoryInput& input) {
    History history(input.seed);
    history.Run(input);
    return HistoryTotals{history.calls(),       history.cached_tokens(),  history.evictions(),
                         history.preemptions(), history.drafted_tokens(), history.accepted_tokens(),
                         history.split_steps(), history.checked_masks()};
  });
  if (HasFailure()) return;
  EXPECT_GT(calls, 1'000'000);
  // Otherwise this would show little.
  EXPECT_GT(cached_tokens, 100'000);
  EXPECT_GT(evictions, 20'000);
  EXPECT_GT(preemptions, 1'000);
  EXPECT_GT(accepted, 20'000);
  EXPECT_GT(drafted - accepted, 5'000);
  EXPECT_GT(split, 100'000);
  EXPECT_GT(masks, 100'000);
}

}  // namespace
}  // namespace phalanx
