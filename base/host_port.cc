#include "base/host_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace phalanx {
namespace {

constexpr size_t kMaxNameBytes = 253;
constexpr size_t kMaxLabelBytes = 63;

bool IsIpv4(const std::string& host) {
  in_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool IsIpv6(const std::string& host) {
  in6_addr address;
  // inet_pton takes a NUL for the end of the text.
  return !absl::StrContains(host, '\0') && inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool IsDigits(absl::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return !text.empty();
}

// Limits of the domain name system (RFC 1035). The underscore is not allowed there, but used.
bool IsLabel(absl::string_view label) {
  if (label.empty() || label.size() > kMaxLabelBytes) return false;
  for (const char c : label) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_') return false;
  }
  return label.front() != '-' && label.back() != '-';
}

// What is wrong with a host that stands outside brackets; nullopt if nothing is.
std::optional<std::string> NameError(const std::string& host) {
  if (host.empty()) return "there is no host";
  if (absl::StrContains(host, ':')) return "an IPv6 address belongs in brackets, like [::1]:50051";
  // "a.b." is the full name of a.b.
  const std::vector<absl::string_view> labels = absl::StrSplit(absl::StripSuffix(host, "."), '.');
  if (IsDigits(labels.back())) {
    if (IsIpv4(host)) return std::nullopt;
    return "the host is no IPv4 address";
  }
  bool valid = host.size() <= kMaxNameBytes;
  for (const absl::string_view label : labels) valid &= IsLabel(label);
  if (valid) return std::nullopt;
  return "the host is neither a name nor an address";
}

std::optional<int> ParsePort(absl::string_view text, PortUse use) {
  int port = 0;
  if (!IsDigits(text) || !absl::SimpleAtoi(text, &port) || port > 65535) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  if (port == 0 && use == PortUse::kConnect) return std::nullopt;
  return port;
}

}  // namespace

std::string HostPort::ToString() const {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", port)
                                      : absl::StrCat(host, ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text, PortUse use) {
  const auto malformed = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(text), "\" is not HOST:PORT: ", why));
  };
  const absl::string_view ports =
      use == PortUse::kListen ? "0 to 65535, where 0 takes a free one" : "1 to 65535";
  const size_t colon = text.rfind(':');
  const size_t bracket = text.rfind(']');
  if (colon == absl::string_view::npos || (bracket != absl::string_view::npos && colon < bracket)) {
    return malformed(absl::StrCat("there is no port (", ports, ")"));
  }
  HostPort address;
  absl::string_view host = text.substr(0, colon);
  if (absl::StartsWith(host, "[")) {
    address.host = std::string(absl::StripPrefix(absl::StripSuffix(host, "]"), "["));
    if (!absl::EndsWith(host, "]") || !IsIpv6(address.host)) {
      return malformed("between brackets belongs an IPv6 address, like [::1]:50051");
    }
  } else {
    address.host = std::string(host);
    if (const std::optional<std::string> error = NameError(address.host)) return malformed(*error);
  }
  const std::optional<int> port = ParsePort(text.substr(colon + 1), use);
  if (!port.has_value()) return malformed(absl::StrCat("a port is a number from ", ports));
  address.port = *port;
  return address;
}

HostPort Dialable(HostPort address) {
  if (address.host == "0.0.0.0") return {"127.0.0.1", address.port};
  in6_addr bytes;
  if (inet_pton(AF_INET6, address.host.c_str(), &bytes) == 1 && IN6_IS_ADDR_UNSPECIFIED(&bytes)) {
    return {"::1", address.port};
  }
  return address;
}

}  // namespace phalanx
