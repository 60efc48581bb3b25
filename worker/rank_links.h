// How this process reaches the other ranks, from its command line.
#ifndef PHALANX_WORKER_RANK_LINKS_H_
#define PHALANX_WORKER_RANK_LINKS_H_

#include <optional>

#include "absl/status/statusor.h"
#include "worker/group/rank_meeting.h"
#include "worker/rank_link_options.h"

namespace phalanx {

// Where rank `rank` listens, if it is 0, or what it dials; nothing if all ranks are on one host.
// `options` must have passed CheckRankLinkOptions. INVALID_ARGUMENT if a file cannot be used.
absl::StatusOr<std::optional<RankTcp>> MakeRankTcp(const RankLinkOptions& options, int rank);

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_LINKS_H_
