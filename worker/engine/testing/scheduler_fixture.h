// What the tests of the scheduler share.
#ifndef PHALANX_WORKER_ENGINE_TESTING_SCHEDULER_FIXTURE_H_
#define PHALANX_WORKER_ENGINE_TESTING_SCHEDULER_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "worker/engine/scheduler.h"

namespace phalanx {

// Sequences are named 0, 1, 2 in order of arrival. A step is told as "0:1* 1:16 2:3*3": sequence 0
// computes one token and draws the next, 1 computes sixteen and draws none, 2 computes three and
// draws a token after each, of which two are a draft.
class SchedulerTest : public ::testing::Test {
 protected:
  void Limits(int step_tokens, int seqs, int blocks, bool prefix_cache = false) {
    scheduler_ = std::make_unique<Scheduler>(StepLimits{.max_step_tokens = step_tokens,
                                                        .max_seqs = seqs,
                                                        .max_blocks_per_seq = 64,
                                                        .kv_blocks = blocks},
                                             prefix_cache);
  }

  void Arrives(int prompt_tokens, bool score = false, RopePlan rope = {},
               int max_new_tokens = 1000) {
    std::vector<int32_t> prompt(prompt_tokens);
    std::iota(prompt.begin(), prompt.end(), 100 * next_id_);
    scheduler_->Add(SequenceId{next_id_++}, {.prompt_token_ids = std::move(prompt),
                                             .max_new_tokens = score ? 0 : max_new_tokens,
                                             .sampling = {},
                                             .seed = 5,
                                             .rope = rope,
                                             .score = score});
  }

  // Arrives a sequence of a tenant, at `now_`.
  void ArrivesAs(const std::string& tenant, int priority, int prompt_tokens,
                 absl::Time deadline = absl::InfiniteFuture()) {
    std::vector<int32_t> prompt(prompt_tokens);
    std::iota(prompt.begin(), prompt.end(), 1000 * next_id_);
    scheduler_->Add(SequenceId{next_id_++}, {.prompt_token_ids = std::move(prompt),
                                             .max_new_tokens = 1000,
                                             .sampling = {},
                                             .rope = {},
                                             .priority = priority,
                                             .tenant = tenant,
                                             .arrival = now_,
                                             .deadline = deadline});
  }

  // Arrives a sequence whose tokens are guessed. Its prompt has `end` at its end.
  void ArrivesGuessed(int prompt_tokens, std::vector<int32_t> end, int max_draft_tokens = 8,
                      int max_new_tokens = 1000, RopePlan rope = {}) {
    std::vector<int32_t> prompt(prompt_tokens - end.size());
    std::iota(prompt.begin(), prompt.end(), 100 * next_id_ + 50);
    prompt.insert(prompt.end(), end.begin(), end.end());
    scheduler_->Add(SequenceId{next_id_++}, {.prompt_token_ids = std::move(prompt),
                                             .max_new_tokens = max_new_tokens,
                                             .sampling = {},
                                             .seed = 5,
                                             .rope = rope,
                                             .max_draft_tokens = max_draft_tokens});
  }

  void Leaves(uint64_t id) { scheduler_->Remove(SequenceId{id}); }

  std::string Step() {
    plan_ = scheduler_->Plan(now_);
    if (plan_.chunks.empty()) return "";
    if (plan_.sampling_follows) scheduler_->WriteSampling(plan_);
    scheduler_->Resolve(plan_, std::vector<int32_t>(Rows().logit_rows.size(), 7));
    return Told(plan_);
  }

  static std::string Told(const StepPlan& plan) {
    return absl::StrJoin(plan.chunks, " ", [](std::string* out, const PlannedChunk& chunk) {
      absl::StrAppend(out, static_cast<uint64_t>(chunk.id), ":", chunk.num_tokens,
                      chunk.draws ? "*" : "");
      if (chunk.num_drafted > 0) absl::StrAppend(out, chunk.num_draws());
    });
  }

  // The last step's, as "slot[index]=block".
  std::string TableEntries() const {
    return absl::StrJoin(Input().table_entries, " ",
                         [](std::string* out, const kernels::TableEntry& entry) {
                           absl::StrAppend(out, entry.slot, "[", entry.index, "]=", entry.block);
                         });
  }

  StepBlock::ConstArrays Input() const { return plan_.step.forward.arrays(); }
  SamplingBlock::ConstArrays Rows() const { return plan_.step.sampling.arrays(); }

  void Steps(int count) {
    for (int i = 0; i < count; ++i) Step();
  }

  std::unique_ptr<Scheduler> scheduler_;
  StepPlan plan_;
  absl::Time now_ = absl::UnixEpoch();
  uint64_t next_id_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_SCHEDULER_FIXTURE_H_
