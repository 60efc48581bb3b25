// Memory for the weights of the CPU backend. Most matrices of a small model are smaller than a huge
// page; they share large pieces, so that all of them lie in huge pages.
#ifndef PHALANX_KERNELS_CPU_WEIGHT_ARENA_H_
#define PHALANX_KERNELS_CPU_WEIGHT_ARENA_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/host_memory.h"

namespace phalanx::kernels {

class WeightArena {
 public:
  // A part of a piece, which goes when all its parts have gone.
  class Part {
   public:
    Part(std::shared_ptr<HostBuffer> piece, std::byte* data, size_t bytes)
        : piece_(std::move(piece)), data_(data), bytes_(bytes) {}

    // Aligned to 64 bytes; zeros at first.
    std::byte* data() const { return data_; }
    size_t bytes() const { return bytes_; }

   private:
    std::shared_ptr<HostBuffer> piece_;
    std::byte* data_;
    size_t bytes_;
  };

  // RESOURCE_EXHAUSTED, telling the bytes, if there is not so much address space.
  absl::StatusOr<Part> Allocate(size_t bytes);

 private:
  std::shared_ptr<HostBuffer> piece_;  // The latest; null at first.
  size_t used_ = 0;                    // Of it.
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_WEIGHT_ARENA_H_
