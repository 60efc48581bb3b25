#include "coordinator/server/request_id.h"

#include <algorithm>
#include <iterator>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/admission/refusal.h"

namespace phalanx {
namespace {

constexpr size_t kMaxBytes = 128;

bool IsUsable(const grpc::string_ref& id) {
  return !id.empty() && id.size() <= kMaxBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return absl::ascii_isgraph(c); });
}

}  // namespace

uint64_t RandomBits64() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

std::string MakeRequestId() {
  return absl::StrFormat("%016x%016x", RandomBits64(), RandomBits64());
}

RequestId RequestIdOf(const grpc::CallbackServerContext& context) {
  const auto [first, last] = context.client_metadata().equal_range(kRequestIdMetadata);
  if (first == last) return {MakeRequestId(), absl::OkStatus()};
  if (std::next(first) == last && IsUsable(first->second)) {
    return {std::string(first->second.data(), first->second.size()), absl::OkStatus()};
  }
  // The caller's bytes are not repeated: they may be anything.
  return {MakeRequestId(),
          Refused(RefusalKind::kOutOfRange,
                  absl::InvalidArgumentError(
                      absl::StrCat(kRequestIdMetadata, ": must be given once at most, and be 1 to ",
                                   kMaxBytes, " visible ASCII characters")))};
}

}  // namespace phalanx
