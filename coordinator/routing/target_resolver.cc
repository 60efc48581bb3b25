#include "coordinator/routing/target_resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <memory>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/log.h"

namespace phalanx {
namespace {

// Numeric text of one getaddrinfo result; empty if it is of no family that we know.
std::string AddressText(const addrinfo& info, int port) {
  char text[INET6_ADDRSTRLEN];
  if (info.ai_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(info.ai_addr);
    inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
    return absl::StrCat(text, ":", port);
  }
  if (info.ai_family == AF_INET6) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(info.ai_addr);
    inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
    return absl::StrCat("[", text, "]:", port);
  }
  return "";
}

}  // namespace

absl::StatusOr<WorkerTarget> ParseWorkerTarget(const std::string& text) {
  const absl::Status malformed = absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not HOST:PORT with a port from 1 to 65535"));
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return malformed;
  absl::string_view host = absl::string_view(text).substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  WorkerTarget target;
  target.host = std::string(host);
  if (!absl::SimpleAtoi(absl::string_view(text).substr(colon + 1), &target.port)) return malformed;
  if (target.port < 1 || target.port > 65535 || host.empty()) return malformed;
  if (!bracketed && host.find_first_of(":[]") != absl::string_view::npos) return malformed;
  return target;
}

absl::StatusOr<std::vector<std::string>> ResolveWorkerTarget(const WorkerTarget& target) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* results = nullptr;
  const int error =
      getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &results);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot resolve ", target.host, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(results, freeaddrinfo);
  bool has_ipv4 = false;
  for (const addrinfo* info = results; info != nullptr; info = info->ai_next) {
    has_ipv4 |= info->ai_family == AF_INET;
  }
  std::set<std::string> addresses;
  for (const addrinfo* info = results; info != nullptr; info = info->ai_next) {
    if (has_ipv4 && info->ai_family != AF_INET) continue;
    const std::string address = AddressText(*info, target.port);
    if (!address.empty()) addresses.insert(address);
  }
  return std::vector<std::string>(addresses.begin(), addresses.end());
}

TargetResolver::TargetResolver(std::vector<WorkerTarget> targets, ResolveFunction resolve)
    : resolve_(std::move(resolve)) {
  for (WorkerTarget& target : targets) entries_.push_back({std::move(target), {}, false});
}

std::vector<std::string> TargetResolver::Resolve() {
  std::set<std::string> all;
  for (Entry& entry : entries_) {
    absl::StatusOr<std::vector<std::string>> addresses = resolve_(entry.target);
    const bool failing = !addresses.ok();
    if (failing && !entry.failing) LOG(WARNING) << addresses.status().message();
    entry.failing = failing;
    if (!failing) entry.addresses = *std::move(addresses);
    all.insert(entry.addresses.begin(), entry.addresses.end());
  }
  return std::vector<std::string>(all.begin(), all.end());
}

}  // namespace phalanx
