// The certificate of this rank, from its command line.
#ifndef PHALANX_WORKER_RANK_CREDENTIALS_H_
#define PHALANX_WORKER_RANK_CREDENTIALS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/net/tls_credentials.h"
#include "worker/rank_link_options.h"

namespace phalanx {

// What `options` name; null if they name none. INVALID_ARGUMENT if the files cannot be used.
absl::StatusOr<std::shared_ptr<TlsCredentials>> LoadRankCredentials(const RankLinkOptions& options);

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_CREDENTIALS_H_
