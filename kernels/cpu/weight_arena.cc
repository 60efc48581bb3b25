#include "kernels/cpu/weight_arena.h"

#include <algorithm>
#include <utility>

namespace phalanx::kernels {
namespace {

constexpr size_t kAlignment = 64;
// What is left of the last piece is never touched, and so takes no memory.
constexpr size_t kPieceBytes = size_t{64} << 20;

}  // namespace

absl::StatusOr<WeightArena::Part> WeightArena::Allocate(size_t bytes) {
  const size_t taken = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (piece_ == nullptr || taken > piece_->bytes() - used_) {
    absl::StatusOr<std::unique_ptr<HostBuffer>> piece =
        HostBuffer::Create(std::max(taken, kPieceBytes));
    if (!piece.ok()) return piece.status();
    piece_ = *std::move(piece);
    used_ = 0;
  }
  std::byte* const data = static_cast<std::byte*>(piece_->data()) + used_;
  used_ += taken;
  return Part(piece_, data, bytes);
}

}  // namespace phalanx::kernels
