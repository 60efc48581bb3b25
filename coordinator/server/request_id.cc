#include "coordinator/server/request_id.h"

#include <random>

#include "absl/strings/str_format.h"

namespace phalanx {

uint64_t RandomBits64() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

std::string MakeRequestId() {
  return absl::StrFormat("%016x%016x", RandomBits64(), RandomBits64());
}

}  // namespace phalanx
