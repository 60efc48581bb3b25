#include "worker/engine/wait_queue.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

class WaitQueueTest : public ::testing::Test {
 protected:
  ~WaitQueueTest() override {
    while (!sequences_.empty()) Leaves(static_cast<int>(sequences_.begin()->first));
    EXPECT_EQ(queue_.tenants(), 0);
  }

  // Sequences are named 0, 1, 2 in order of arrival, one each second.
  void Arrives(int tokens, const std::string& tenant = "", int priority = 0) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = SequenceId{next_id_};
    const absl::Time now = absl::UnixEpoch() + absl::Seconds(next_id_);
    sequence->rank = {.time = now - priority * kAgeing, .id = sequence->id};
    sequence->tokens.assign(tokens, 0);
    sequence->own_tokens = tokens;
    queue_.Add(*sequence, tenant);
    sequences_[next_id_++] = std::move(sequence);
  }

  void Leaves(int id) {
    queue_.Remove(*sequences_.at(id));
    sequences_.erase(id);
  }

  // What is given out of `tokens`, as "0:12 1:4", in the order in which it is asked for.
  std::string Deal(int tokens) {
    std::vector<std::pair<uint64_t, int>> parts;
    queue_.Deal(tokens, [&](Sequence& sequence, int most) {
      const auto id = static_cast<uint64_t>(sequence.id);
      if (std::count(stuck_.begin(), stuck_.end(), id) > 0) return 0;
      const int taken = std::min(most, sequence.pending());
      sequence.computed += taken;
      if (taken == 0) return 0;
      if (!parts.empty() && parts.back().first == id) {
        parts.back().second += taken;
      } else {
        parts.emplace_back(id, taken);
      }
      return taken;
    });
    for (auto& [id, sequence] : sequences_) {
      if (sequence->pending() == 0) queue_.TakeOut(*sequence);
    }
    return absl::StrJoin(parts, " ", absl::PairFormatter(":"));
  }

  WaitQueue queue_;
  std::map<uint64_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<uint64_t> stuck_;
  uint64_t next_id_ = 0;
};

TEST_F(WaitQueueTest, SequencesOfOneTenantGoInOrderOfArrival) {
  Arrives(20);
  Arrives(5);
  Arrives(20);
  EXPECT_EQ(Deal(16), "0:16");
  EXPECT_EQ(Deal(16), "0:4 1:5 2:7");
  EXPECT_EQ(Deal(16), "2:13");
  EXPECT_EQ(Deal(16), "");
}

TEST_F(WaitQueueTest, AHigherPriorityGoesFirstAlsoWhenAnotherHasBegun) {
  Arrives(20);
  Arrives(20, "", 1);
  Arrives(20, "", 2);
  EXPECT_EQ(Deal(10), "2:10");
  Arrives(20, "", 3);
  EXPECT_EQ(Deal(40), "3:20 2:10 1:10");
  EXPECT_EQ(Deal(40), "1:10 0:20");
}

TEST_F(WaitQueueTest, AStepOfPriorityIsWorthTenSecondsOfWaiting) {
  Arrives(1);  // At 0 s.
  next_id_ = 9;
  Arrives(1, "", 1);
  next_id_ = 11;
  Arrives(1, "", 1);
  next_id_ = 21;
  Arrives(1, "", 2);
  EXPECT_EQ(Deal(100), "9:1 0:1 11:1 21:1");
}

TEST_F(WaitQueueTest, TenantsTakeTurnsByTokens) {
  for (int i = 0; i < 100; ++i) Arrives(100, "a");
  Arrives(300, "b");
  Arrives(300, "b");
  EXPECT_EQ(Deal(600), "0:100 1:100 2:100 3:100 4:100 5:12 100:88");
  EXPECT_EQ(Deal(600), "100:212 101:212 5:88 6:88");
}

TEST_F(WaitQueueTest, PrioritiesDoNotCountBetweenTenants) {
  Arrives(600, "a");
  Arrives(600, "b", kMaxPriority);
  EXPECT_EQ(Deal(1024), "0:512 1:512");
}

TEST_F(WaitQueueTest, WhatIsComputedOutsideOfTurnsCountsToo) {
  Arrives(5000, "a");
  Arrives(5000, "b");
  queue_.Charge(*sequences_[0], 1024);
  // The charge is two turns of "a", which "b" gets first.
  EXPECT_EQ(Deal(1024), "1:1024");
  EXPECT_EQ(Deal(1024), "0:512 1:512");
}

TEST_F(WaitQueueTest, WhatATenantHasHadCountsAsLongAsItHasSequences) {
  Arrives(10, "a");
  EXPECT_EQ(Deal(10), "0:10");
  queue_.Charge(*sequences_[0], 1000);
  Arrives(600, "a");
  Arrives(600, "b");
  EXPECT_EQ(Deal(700), "2:600 1:100");
  queue_.Charge(*sequences_[0], 100'000);
  Leaves(0);
  Leaves(1);
  Arrives(600, "b");
  Arrives(600, "a");
  EXPECT_EQ(Deal(1024), "3:512 4:512") << "it is like any other that comes";
}

TEST_F(WaitQueueTest, WhatATenantDoesNotNeedGoesToOthersAndIsNotSavedUp) {
  Arrives(10, "a");
  Arrives(5000, "b");
  EXPECT_EQ(Deal(100), "0:10 1:90");
  for (int i = 0; i < 10; ++i) Deal(100);
  Arrives(2000, "a");
  EXPECT_EQ(Deal(1024), "1:446 2:512 1:66") << "the rest of its turn, then one each";
}

TEST_F(WaitQueueTest, WhoCannotGoOnIsPassedAndMakesUpForItLater) {
  Arrives(600, "a");
  Arrives(10, "a");
  Arrives(5000, "b");
  stuck_ = {0};
  EXPECT_EQ(Deal(1000), "1:10 2:990");
  stuck_ = {};
  EXPECT_EQ(Deal(1000), "0:600 2:400") << "who has had less goes first as soon as he can";
}

TEST_F(WaitQueueTest, TellsWhatGoesBefore) {
  Arrives(20, "a");
  Arrives(7, "a");
  Arrives(100, "b");
  Arrives(3, "a", 5);
  EXPECT_EQ(queue_.TokensBefore(*sequences_[0]), 3);
  EXPECT_EQ(queue_.TokensBefore(*sequences_[1]), 23);
  EXPECT_EQ(queue_.TokensBefore(*sequences_[2]), 0);
  EXPECT_EQ(queue_.TokensBefore(*sequences_[3]), 0);
  // One that runs counts with what it has left.
  sequences_[0]->slot = 0;
  sequences_[0]->computed = 15;
  EXPECT_EQ(queue_.TokensBefore(*sequences_[1]), 8);
}

// Whatever comes, leaves and is charged: nobody gets more than he has, all that is there is given
// out, each tenant goes by rank, and tenants that have enough to do get equal shares.
class RandomQueue {
 public:
  explicit RandomQueue(unsigned seed) : random_(seed) { tenants_ = Draw(1, 5); }

  void Run() {
    for (int turn = 0; turn < 300; ++turn) {
      for (int i = Draw(0, 3); i > 0; --i) Add();
      if (Draw(0, 5) == 0 && !sequences_.empty()) {
        auto it = sequences_.begin();
        std::advance(it, Draw(0, static_cast<int>(sequences_.size()) - 1));
        queue_.Remove(*it->second);
        sequences_.erase(it);
      }
      Deal(Draw(1, 700));
      if (::testing::Test::HasFailure()) return;
    }
    Clear();
    CheckShares();
    Clear();
  }

 private:
  int Draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  void Clear() {
    while (!sequences_.empty()) {
      queue_.Remove(*sequences_.begin()->second);
      sequences_.erase(sequences_.begin());
    }
    EXPECT_EQ(queue_.tenants(), 0);
  }

  void Add(int most_tokens = 900) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = SequenceId{next_id_++};
    now_ += absl::Seconds(Draw(0, 20));
    sequence->rank = {.time = now_ - Draw(kMinPriority, kMaxPriority) * kAgeing,
                      .id = sequence->id};
    sequence->tokens.assign(Draw(1, most_tokens), 0);
    const int tenant = Draw(0, tenants_ - 1);
    sequence->slot = tenant;
    queue_.Add(*sequence, absl::StrCat("tenant ", tenant));
    sequences_[sequence->id] = std::move(sequence);
  }

  // Returns what each tenant got.
  std::vector<int> Deal(int tokens) {
    std::vector<int> got(tenants_);
    std::vector<Rank> last(tenants_, Rank{.time = absl::InfinitePast()});
    int left = tokens;
    queue_.Deal(tokens, [&](Sequence& sequence, int most) {
      const int tenant = sequence.slot;
      EXPECT_LE(most, left);
      EXPECT_GT(most, 0);
      EXPECT_FALSE(sequence.rank < last[tenant]);
      last[tenant] = sequence.rank;
      const int taken = std::min(most, sequence.pending());
      sequence.computed += taken;
      left -= taken;
      got[tenant] += taken;
      return taken;
    });
    int pending = 0;
    for (auto& [id, sequence] : sequences_) {
      pending += sequence->pending();
      if (sequence->pending() == 0) queue_.TakeOut(*sequence);
    }
    EXPECT_TRUE(left == 0 || pending == 0) << left << " tokens were not given out";
    return got;
  }

  void CheckShares() {
    // Enough for all.
    for (int i = 0; i < tenants_ * 300; ++i) Add();
    std::vector<int> got(tenants_);
    for (int turn = 0; turn < tenants_ * 100; ++turn) {
      for (int i = Draw(0, 2); i > 0; --i) Add();
      // Decodes of somebody.
      const auto it = sequences_.begin();
      const int decodes = Draw(0, 64);
      if (it->second->in_queue) {
        queue_.Charge(*it->second, decodes);
        got[it->second->slot] += decodes;
      }
      const std::vector<int> dealt = Deal(Draw(1, 700));
      for (int tenant = 0; tenant < tenants_; ++tenant) got[tenant] += dealt[tenant];
    }
    const auto [least, most] = std::minmax_element(got.begin(), got.end());
    EXPECT_LE(*most - *least, 2 * kTurnTokens + 64) << absl::StrJoin(got, " ");
  }

  std::mt19937 random_;
  int tenants_ = 1;
  WaitQueue queue_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  absl::Time now_ = absl::UnixEpoch();
  uint64_t next_id_ = 0;
};

TEST(WaitQueueHistoryTest, TurnsAreFairAndRanksAreKeptInAnyHistory) {
  for (unsigned seed = 0; seed < 80; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomQueue queue(seed);
    queue.Run();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace phalanx
