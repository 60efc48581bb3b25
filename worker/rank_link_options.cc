#include "worker/rank_link_options.h"

#include "absl/strings/str_cat.h"
#include "base/options.h"

namespace phalanx {
namespace {

// The first of the flags that only mean something with --leader; empty if none is given.
std::string FlagForSeveralHosts(const RankLinkOptions& options) {
  if (options.group_listen.port != 0) return "--group_listen";
  if (!options.certificate.empty()) return "--rank_tls_cert";
  if (!options.key.empty()) return "--rank_tls_key";
  if (!options.authorities.empty()) return "--rank_tls_ca";
  if (!options.secret_file.empty()) return "--group_secret_file";
  if (options.insecure) return "--insecure_rank_link";
  return "";
}

absl::Status CheckTls(const RankLinkOptions& options) {
  const bool any =
      !options.certificate.empty() || !options.key.empty() || !options.authorities.empty();
  const bool all =
      !options.certificate.empty() && !options.key.empty() && !options.authorities.empty();
  if (any != all) {
    return absl::InvalidArgumentError(
        "--rank_tls_cert, --rank_tls_key and --rank_tls_ca belong together: give all three");
  }
  if (all && options.insecure) {
    return absl::InvalidArgumentError(
        "--insecure_rank_link is for groups without --rank_tls_cert: give one of the two");
  }
  return absl::OkStatus();
}

void AddPath(CLI::App& app, const std::string& group, CLI::Option* world, const std::string& name,
             std::string* path, const std::string& help) {
  app.add_option(name, *path, help)->type_name("PATH")->needs(world)->group(group);
}

}  // namespace

void AddRankLinkOptions(CLI::App& app, const std::string& group, CLI::Option* world,
                        RankLinkOptions& options) {
  AddHostPortOption(app, "--leader", &options.leader, PortUse::kConnect,
                    "Where rank 0 of a group over several hosts (--world) is: the others dial it "
                    "until --startup_timeout, in any order, and rank 0 itself listens on its port. "
                    "So all may have the same command line but for --rank")
      ->default_str("")
      ->needs(world)
      ->group(group);
  AddHostPortOption(app, "--group_listen", &options.group_listen, PortUse::kConnect,
                    "Where rank 0 listens for the others, which do not heed it")
      ->default_str("every address, port of --leader")
      ->needs(world)
      ->group(group);
  AddPath(app, group, world, "--rank_tls_cert", &options.certificate,
          "Certificate (PEM) that this rank proves to the others; read again when it changes");
  AddPath(app, group, world, "--rank_tls_key", &options.key, "Its private key (PEM)");
  AddPath(app, group, world, "--rank_tls_ca", &options.authorities,
          "Authorities (PEM) whose certificates the other ranks must prove. Whoever has one can "
          "join the group: so an authority of its own");
  AddPath(app, group, world, "--group_secret_file", &options.secret_file,
          "A secret of at least 16 bytes, the same for all ranks, that they prove to each other "
          "without sending it");
  app.add_flag("--insecure_rank_link", options.insecure,
               "Without certificates, with --group_secret_file alone: what ranks send is neither "
               "encrypted nor protected from changes. For networks that belong to the group alone")
      ->needs(world)
      ->group(group);
}

absl::Status CheckRankLinkOptions(const RankLinkOptions& options) {
  if (!options.over_tcp()) {
    const std::string flag = FlagForSeveralHosts(options);
    if (flag.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " is for groups over several hosts: give --leader too"));
  }
  if (absl::Status status = CheckTls(options); !status.ok()) return status;
  if (options.has_tls()) return absl::OkStatus();
  if (!options.insecure) {
    return absl::InvalidArgumentError(
        "--leader needs --rank_tls_cert, --rank_tls_key and --rank_tls_ca; on a network that "
        "belongs to the group alone, --group_secret_file with --insecure_rank_link will do");
  }
  if (options.secret_file.empty()) {
    return absl::InvalidArgumentError(
        "--insecure_rank_link needs --group_secret_file: without it everybody could join");
  }
  return absl::OkStatus();
}

HostPort GroupListenAddress(const RankLinkOptions& options) {
  if (options.group_listen.port != 0) return options.group_listen;
  return {"::", options.leader.port};
}

}  // namespace phalanx
