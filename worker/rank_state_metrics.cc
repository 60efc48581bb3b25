#include "worker/rank_state_metrics.h"

#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"

namespace phalanx {

RankStateMetrics::RankStateMetrics(prometheus::Registry& registry, int world)
    : skew_seconds_(
          prometheus::BuildGauge()
              .Name("phalanx_rank_skew_seconds")
              .Help("How much more of a step the rank that waits longest for others spends in "
                    "collectives than the one that is waited for; mean over the steps of the last "
                    "second with steps.")
              .Register(registry)
              .Add({})),
      heartbeat_age_seconds_(world, nullptr) {
  auto& family = prometheus::BuildGauge()
                     .Name("phalanx_rank_heartbeat_age_seconds")
                     .Help("Time since the leader last heard of the rank.")
                     .Register(registry);
  for (int rank = 1; rank < world; ++rank) {
    heartbeat_age_seconds_[rank] = &family.Add({{"rank", absl::StrCat(rank)}});
  }
}

void RankStateMetrics::Update(const std::vector<RankState>& ranks) {
  CHECK(ranks.size() == heartbeat_age_seconds_.size()) << ranks.size();
  skew_seconds_.Set(absl::ToDoubleSeconds(RankSkew(ranks)));
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    heartbeat_age_seconds_[rank]->Set(absl::ToDoubleSeconds(ranks[rank].heartbeat_age));
  }
}

}  // namespace phalanx
