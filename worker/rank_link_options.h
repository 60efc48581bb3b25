// The part of the worker's command line that says how ranks of several hosts reach their leader.
#ifndef PHALANX_WORKER_RANK_LINK_OPTIONS_H_
#define PHALANX_WORKER_RANK_LINK_OPTIONS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "base/host_port.h"

namespace phalanx {

struct RankLinkOptions {
  HostPort leader;          // What ranks dial. Port 0: all ranks are on one host.
  HostPort group_listen;    // Where rank 0 listens. Port 0: every address, at the leader's port.
  std::string certificate;  // Paths of PEM files, see worker/net/tls_credentials.h; all or none.
  std::string key;
  std::string authorities;
  std::string secret_file;  // See worker/group/group_secret.h.
  bool insecure = false;

  // Whether the ranks may be on several hosts.
  bool over_tcp() const { return leader.port != 0; }
  bool has_tls() const { return !certificate.empty(); }
};

// Adds the options to `app`, in the help's group `group`; they need `world`. `options` must outlive
// the parsing.
void AddRankLinkOptions(CLI::App& app, const std::string& group, CLI::Option* world,
                        RankLinkOptions& options);

// INVALID_ARGUMENT, naming the flags, if the options contradict each other or would leave the group
// open to everybody.
absl::Status CheckRankLinkOptions(const RankLinkOptions& options);

// Where rank 0 listens.
HostPort GroupListenAddress(const RankLinkOptions& options);

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_LINK_OPTIONS_H_
