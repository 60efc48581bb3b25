#include "worker/rank_credentials.h"

namespace phalanx {

absl::StatusOr<std::shared_ptr<TlsCredentials>> LoadRankCredentials(
    const RankLinkOptions& options) {
  if (!options.has_tls()) return nullptr;
  return TlsCredentials::Create(
      {.certificate = options.certificate, .key = options.key, .authorities = options.authorities});
}

}  // namespace phalanx
