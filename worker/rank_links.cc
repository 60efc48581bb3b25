#include "worker/rank_links.h"

#include "base/log.h"
#include "base/status.h"
#include "worker/group/group_secret.h"
#include "worker/rank_credentials.h"

namespace phalanx {

absl::StatusOr<std::optional<RankTcp>> MakeRankTcp(const RankLinkOptions& options, int rank) {
  if (!options.over_tcp()) return std::nullopt;
  RankTcp tcp{.address = rank == 0 ? GroupListenAddress(options) : options.leader};
  ASSIGN_OR_RETURN(tcp.credentials, LoadRankCredentials(options));
  if (!options.secret_file.empty()) {
    ASSIGN_OR_RETURN(tcp.secret, GroupSecret::Read(options.secret_file));
  }
  if (tcp.credentials == nullptr) {
    LOG(WARNING) << "ranks are linked without TLS (--insecure_rank_link): whoever is on their "
                    "network can read prompts and answers, and change them";
  }
  return tcp;
}

}  // namespace phalanx
