// Random histories of requests of several tenants and priorities: none is
// passed by requests that may not pass it, streams get a token in every step,
// every request ends once, and tenants get equal shares. The model costs
// nothing: it draws the same token always.
#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <iostream>
#include <map>
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
#include "worker/engine/testing/histories.h"

namespace phalanx {
namespace {

constexpr int kMaxSeqTokens = 320;
constexpr int kTenants = 4;

class OrderHistory {
 public:
  struct Kind {
    // Blocks for all that can run, so that nobody has to wait for any.
    bool ample_blocks = false;
    // Prompts that begin alike: some wait for blocks that others compute.
    bool shared_prompts = false;
    bool deadlines = false;
  };

  OrderHistory(uint64_t seed, const Kind &kind, bool tell)
      : random_(seed), kind_(kind), tell_(tell) {
    limits_.max_seqs = Draw(1, 8);
    limits_.max_step_tokens = limits_.max_seqs + Draw(0, 100);
    limits_.max_blocks_per_seq = BlocksFor(kMaxSeqTokens);
    limits_.kv_blocks = limits_.max_blocks_per_seq * (kind.ample_blocks ? limits_.max_seqs + 1 : 2);
    max_in_flight_ = Draw(1, 2);
    scheduler_ = std::make_unique<Scheduler>(limits_);
  }

  void Run(const std::vector<uint64_t> &operations) {
    for (const uint64_t operation : operations) {
      random_ = HistoryRandom(operation);
      Operate();
      scheduler_->CheckReferences();
      if (::testing::Test::HasFailure()) return;
    }
    Drain();
  }

  // Every tenant has something waiting all the time, each in its own way: many
  // small requests, long ones, long answers, high priorities. They get equal
  // numbers of tokens.
  void RunSaturated(int64_t warm_up_tokens, int64_t tokens) {
    for (const int64_t limit : {warm_up_tokens, tokens}) {
      served_.fill(0);
      while (ServedToAll() < limit && !::testing::Test::HasFailure()) {
        AddWhatIsMissing();
        PlanOrResolve();
      }
    }
    const int64_t all = ServedToAll();
    for (const int64_t served : served_) {
      EXPECT_GT(10 * kTenants * served, 9 * all) << absl::StrJoin(served_, " ");
      EXPECT_LT(10 * kTenants * served, 11 * all) << absl::StrJoin(served_, " ");
    }
  }

  int64_t calls() const { return calls_; }
  int64_t ended() const { return ended_; }
  int64_t late() const { return late_; }
  int64_t preemptions() const { return preemptions_; }
  int64_t awaited() const { return passed_while_awaiting_; }
  int64_t guesses() const { return guesses_; }

 private:
  struct Request {
    int tenant = 0;
    int priority = 0;
    absl::Time arrival;
    int prompt_tokens = 0;
    int max_new_tokens = 0;
    int drawn = 0;
    bool begun = false;
    // It has drawn a token, and was not preempted since.
    bool streams = false;
  };
  struct PendingStep {
    StepPlan plan;
    absl::Duration time;
  };

  int Draw(int low, int high) { return random_.Draw(low, high); }

  // Every third one. All draw 7 all the time, so guesses are right.
  static bool IsGuessed(SequenceId id) { return static_cast<uint64_t>(id) % 3 == 0; }

  int64_t ServedToAll() const {
    return std::accumulate(served_.begin(), served_.end(), int64_t{0});
  }

  void AddWhatIsMissing() {
    for (int tenant = 0; tenant < kTenants; ++tenant) {
      while (waiting_of_[tenant] < (tenant == 0 ? 40 : 10)) {
        const int prompt = tenant == 1 ? Draw(150, 250) : Draw(1, 60);
        const int answer = tenant == 2 ? Draw(20, 60) : Draw(1, 10);
        Add(tenant, tenant == 3 ? kMaxPriority : Draw(-1, 1), prompt, answer);
      }
    }
  }

  void Operate() {
    const int choice = Draw(0, 19);
    if (choice < 3) {
      if (requests_.size() < 40) {
        Add(Draw(0, 1) == 0 ? 0 : Draw(0, kTenants - 1),
            Draw(0, 1) == 0 ? 0 : Draw(kMinPriority, kMaxPriority), Draw(1, 200), Draw(1, 100));
      }
    } else if (choice == 3) {
      Cancel();
    } else if (choice == 4) {
      now_ += absl::Milliseconds(Draw(0, 5000));
    } else if (choice < 12) {
      if (static_cast<int>(in_flight_.size()) < max_in_flight_) Plan();
    } else if (!in_flight_.empty()) {
      Resolve();
    }
  }

  void Add(int tenant, int priority, int prompt_tokens, int max_new_tokens) {
    ++calls_;
    const SequenceId id{next_id_++};
    if (tell_) {
      std::cout << "add " << next_id_ - 1 << " tenant " << tenant << " priority " << priority
                << " prompt " << prompt_tokens << " new " << max_new_tokens << "\n";
    }
    // Different from all others in its first token, or like others of a few
    // texts.
    std::vector<int32_t> prompt(prompt_tokens, Draw(0, 2));
    if (!kind_.shared_prompts) prompt[0] = static_cast<int32_t>(next_id_);
    absl::Time deadline = absl::InfiniteFuture();
    if (kind_.deadlines && Draw(0, 1) == 0) deadline = now_ + absl::Milliseconds(Draw(1, 2000));
    requests_[id] = {.tenant = tenant,
                     .priority = priority,
                     .arrival = now_,
                     .prompt_tokens = prompt_tokens,
                     .max_new_tokens = max_new_tokens};
    ++waiting_of_[tenant];
    scheduler_->Add(id, {.prompt_token_ids = std::move(prompt),
                         .max_new_tokens = max_new_tokens,
                         .sampling = {},
                         .rope = {},
                         .priority = priority,
                         .tenant = absl::StrCat("tenant ", tenant),
                         .arrival = now_,
                         .deadline = deadline,
                         .max_draft_tokens = IsGuessed(id) ? 6 : 0});
  }

  void Cancel() {
    if (requests_.empty()) return;
    auto it = requests_.begin();
    std::advance(it, Draw(0, static_cast<int>(requests_.size()) - 1));
    if (tell_) std::cout << "cancel " << static_cast<uint64_t>(it->first) << "\n";
    End(it->first);
  }

  void End(SequenceId id) {
    ++calls_;
    ++ended_;
    const auto it = requests_.find(id);
    ASSERT_TRUE(it != requests_.end()) << "ends twice";
    if (!it->second.begun) --waiting_of_[it->second.tenant];
    scheduler_->Remove(id);
    requests_.erase(it);
  }

  void Plan() {
    ++calls_;
    PendingStep step = {.plan = scheduler_->Plan(now_), .time = {}};
    preemptions_ += step.plan.preemptions;
    if (tell_) {
      std::cout << "plan";
      for (const PlannedChunk &chunk : step.plan.chunks) {
        std::cout << " " << static_cast<uint64_t>(chunk.id) << ":" << chunk.num_tokens;
      }
      std::cout << "\n";
    }
    for (const StepPlan::Late &late : step.plan.late) {
      EXPECT_FALSE(requests_.at(late.id).begun);
      ++late_;
      End(late.id);
    }
    CheckSize(step.plan);
    CheckStreams(step.plan);
    for (const PlannedChunk &chunk : step.plan.chunks) {
      Request &request = requests_.at(chunk.id);
      served_[request.tenant] += chunk.num_tokens;
      if (!std::exchange(request.begun, true)) {
        --waiting_of_[request.tenant];
        CheckPassing(chunk.id, request);
      }
    }
    if (step.plan.chunks.empty()) return;
    int tokens = 0;
    for (const PlannedChunk &chunk : step.plan.chunks) tokens += chunk.num_tokens;
    step.time = absl::Microseconds(1000 + 100 * tokens);
    now_ += step.time;
    in_flight_.push_back(std::move(step));
  }

  void CheckSize(const StepPlan &plan) {
    int tokens = 0;
    int draws = 0;
    int guesses = 0;
    for (const PlannedChunk &chunk : plan.chunks) {
      EXPECT_GT(chunk.num_tokens, 0);
      tokens += chunk.num_tokens;
      draws += chunk.num_draws();
      guesses += chunk.num_drafted;
    }
    guesses_ += guesses;
    EXPECT_LE(tokens, limits_.max_step_tokens);
    EXPECT_LE(draws, limits_.max_seqs);
    EXPECT_LE(static_cast<int>(plan.chunks.size()), limits_.max_seqs);
    // What is waiting for a turn takes all that decodes leave, and guesses take
    // what is left then.
    const bool full = tokens - guesses == limits_.max_step_tokens;
    if (!full && kind_.ample_blocks && !kind_.shared_prompts && in_flight_.empty() &&
        scheduler_->running() < limits_.max_seqs) {
      EXPECT_EQ(scheduler_->waiting(), 0) << "a step has room that somebody waits for";
    }
  }

  // No prompt delays a stream: each has its token in every step.
  void CheckStreams(const StepPlan &plan) {
    if (!kind_.ample_blocks || plan.chunks.empty()) return;
    std::map<SequenceId, int> tokens;
    for (const PlannedChunk &chunk : plan.chunks) tokens[chunk.id] = chunk.num_tokens;
    for (const auto &[id, request] : requests_) {
      const auto has_part = [&](const PendingStep &step) {
        return std::any_of(step.plan.chunks.begin(), step.plan.chunks.end(),
                           [&](const PlannedChunk &chunk) { return chunk.id == id; });
      };
      // Its guesses wait for the result of the step before.
      if (IsGuessed(id) && std::any_of(in_flight_.begin(), in_flight_.end(), has_part)) continue;
      const int in_flight = std::accumulate(
          in_flight_.begin(), in_flight_.end(), 0, [&](int sum, const PendingStep &step) {
            return sum +
                   static_cast<int>(std::count_if(
                       step.plan.chunks.begin(), step.plan.chunks.end(),
                       [&](const PlannedChunk &chunk) { return chunk.id == id && chunk.draws; }));
          });
      if (request.drawn + in_flight == 0) continue;
      if (request.drawn + in_flight == request.max_new_tokens) continue;
      EXPECT_GE(tokens[id], 1) << "stream " << static_cast<uint64_t>(id) << " waits";
      EXPECT_TRUE(tokens[id] == 1 || IsGuessed(id));
    }
  }

  // Who begins has passed nobody of his tenant that he may not pass: first
  // come, first served in a class, and a higher priority is worth kAgeing.
  void CheckPassing(SequenceId id, const Request &request) {
    for (const auto &[other_id, other] : requests_) {
      if (!(other_id < id)) break;
      if (other.begun || other.tenant != request.tenant) continue;
      // It may wait for blocks that another one computes.
      if (kind_.shared_prompts) {
        ++passed_while_awaiting_;
        continue;
      }
      EXPECT_GT(request.priority, other.priority)
          << static_cast<uint64_t>(id) << " passes " << static_cast<uint64_t>(other_id);
      EXPECT_LE(request.arrival - other.arrival, (request.priority - other.priority) * kAgeing);
    }
  }

  void PlanOrResolve() {
    const size_t before = in_flight_.size();
    if (static_cast<int>(before) < max_in_flight_) Plan();
    // Also if there is nothing to plan before the next result.
    if (in_flight_.size() == before && before > 0) Resolve();
  }

  void Resolve() {
    ++calls_;
    PendingStep step = std::move(in_flight_.front());
    in_flight_.pop_front();
    const int draws =
        std::accumulate(step.plan.chunks.begin(), step.plan.chunks.end(), 0,
                        [](int sum, const PlannedChunk &chunk) { return sum + chunk.num_draws(); });
    scheduler_->NoteStepTime(step.plan, step.time);
    scheduler_->Resolve(step.plan, std::vector<int32_t>(draws, 7));
    for (const PlannedChunk &chunk : step.plan.chunks) {
      const auto it = requests_.find(chunk.id);
      if (!chunk.draws || it == requests_.end()) continue;
      EXPECT_EQ(chunk.draw_position, it->second.prompt_tokens + it->second.drawn);
      it->second.drawn += 1 + chunk.num_accepted;
      EXPECT_LE(it->second.drawn, it->second.max_new_tokens);
      if (it->second.drawn == it->second.max_new_tokens) End(chunk.id);
    }
  }

  // All that is there ends by itself, in a bounded number of steps.
  void Drain() {
    int64_t tokens = 0;
    for (const auto &[id, request] : requests_) {
      tokens += request.prompt_tokens + request.max_new_tokens;
    }
    // Even if a step computes one token of what is new, and all is computed
    // again for each.
    for (int64_t steps = 0; !requests_.empty(); ++steps) {
      ASSERT_LT(steps, 20 * tokens + 100) << requests_.size() << " requests starve";
      PlanOrResolve();
      if (::testing::Test::HasFailure()) return;
    }
    while (!in_flight_.empty()) Resolve();
    EXPECT_EQ(scheduler_->used_blocks(), 0);
    EXPECT_EQ(scheduler_->waiting_tokens(), 0);
    EXPECT_EQ(ended_, static_cast<int64_t>(next_id_));
  }

  HistoryRandom random_;
  const Kind kind_;
  const bool tell_;
  StepLimits limits_;
  int max_in_flight_ = 1;
  std::unique_ptr<Scheduler> scheduler_;
  absl::Time now_ = absl::UnixEpoch();
  std::map<SequenceId, Request> requests_;
  std::deque<PendingStep> in_flight_;
  std::array<int, kTenants> waiting_of_ = {};
  std::array<int64_t, kTenants> served_ = {};
  uint64_t next_id_ = 0;
  int64_t calls_ = 0;
  int64_t ended_ = 0;
  int64_t late_ = 0;
  int64_t preemptions_ = 0;
  int64_t passed_while_awaiting_ = 0;
  int64_t guesses_ = 0;
};

HistoryTotals RunOrder(const OrderHistory::Kind &kind, const HistoryInput &input) {
  OrderHistory history(input.seed, kind, input.tell);
  history.Run(input.operations);
  return {history.calls(),       history.ended(),   history.late(),
          history.preemptions(), history.awaited(), history.guesses()};
}

TEST(SchedulerOrderHistoryTest, NobodyIsPassedAndNoStreamWaitsWhereBlocksAreAmple) {
  const HistoryTotals totals = RunHistories(
      350, 2000, [](const HistoryInput &input) { return RunOrder({.ample_blocks = true}, input); });
  if (HasFailure()) return;
  EXPECT_GT(totals[0], 400'000);
  EXPECT_EQ(totals[3], 0);
  EXPECT_GT(totals[5], 20'000) << "hardly anything was guessed";
}

TEST(SchedulerOrderHistoryTest, NobodyIsPassedWhereBlocksAreFewAndSomeAreLate) {
  const HistoryTotals totals = RunHistories(
      300, 2000, [](const HistoryInput &input) { return RunOrder({.deadlines = true}, input); });
  if (HasFailure()) return;
  EXPECT_GT(totals[0], 300'000);
  EXPECT_GT(totals[2], 1'000);
  EXPECT_GT(totals[3], 500);
}

TEST(SchedulerOrderHistoryTest, NobodyStarvesWhereSomeWaitForBlocksOfOthers) {
  const HistoryTotals totals = RunHistories(300, 2000, [](const HistoryInput &input) {
    return RunOrder({.ample_blocks = input.seed % 2 == 0, .shared_prompts = true}, input);
  });
  if (HasFailure()) return;
  EXPECT_GT(totals[0], 300'000);
  EXPECT_GT(totals[4], 1'000);
}

TEST(SchedulerOrderHistoryTest, SharesOfTenantsAreEqualWithinTenPercent) {
  RunHistories(30, 0, [](const HistoryInput &input) {
    OrderHistory history(input.seed, {.ample_blocks = input.seed % 2 == 0}, input.tell);
    history.RunSaturated(/*warm_up_tokens=*/20'000, /*tokens=*/500'000);
    return HistoryTotals();
  });
}

}  // namespace
}  // namespace phalanx
