#include "model/checkpoint/weights_digest.h"

#include <cstdint>

#include "base/content_digest.h"

namespace phalanx {
namespace {

// How much is read between two looks for an interruption: some milliseconds from a slow disk.
constexpr size_t kPieceBytes = size_t{1} << 20;

}  // namespace

absl::StatusOr<std::string> WeightsDigest(absl::Span<const absl::Span<const std::byte>> files,
                                          const std::function<bool()>& interrupted) {
  ContentDigest digest;
  for (const absl::Span<const std::byte> file : files) {
    // The size, so that bytes cannot move from one file to the next without a change.
    const uint64_t file_bytes = file.size();
    digest.Add({reinterpret_cast<const std::byte*>(&file_bytes), sizeof(file_bytes)});
    for (size_t begin = 0; begin < file.size(); begin += kPieceBytes) {
      if (interrupted && interrupted()) {
        return absl::CancelledError("interrupted while the weights were read");
      }
      digest.Add(file.subspan(begin, kPieceBytes));
    }
  }
  return digest.Hex();
}

}  // namespace phalanx
