// The CUDA backend on a GPU. The tests of the suite keep tensors in memory of the host, which they
// take with new. Here new gives memory that a GPU can read and write, so they run as they are:
// slowly, but what they test is what kernels compute.
#include <cuda_runtime_api.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/testing/op_suite.h"

namespace {

constexpr size_t kArenaBytes = size_t{2} << 30;
constexpr size_t kAlignment = 64;

// Pieces of powers of two. A piece that was given back is kept for the next of its size.
class SharedMemory {
 public:
  // Null if the arena is not there, or is used up.
  void* Take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (!Begin()) return nullptr;
    const int size = std::countr_zero(std::bit_ceil(bytes | kAlignment));
    if (Piece* const piece = free_[size]) {
      free_[size] = piece->next;
      return piece;
    }
    if (used_ + (size_t{1} << size) > kArenaBytes) return nullptr;
    void* const piece = arena_ + used_;
    used_ += size_t{1} << size;
    return piece;
  }

  bool Give(void* piece, size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto* const at = static_cast<std::byte*>(piece);
    if (arena_ == nullptr || at < arena_ || at >= arena_ + kArenaBytes) return false;
    const int size = std::countr_zero(std::bit_ceil(bytes | kAlignment));
    free_[size] = new (piece) Piece{free_[size]};
    return true;
  }

 private:
  struct Piece {
    Piece* next;
  };

  // CUDA itself calls new while it begins.
  bool Begin() {
    if (arena_ != nullptr) return true;
    thread_local bool begins = false;
    if (begins || failed_) return false;
    begins = true;
    void* arena = nullptr;
    failed_ = cudaHostAlloc(&arena, kArenaBytes, cudaHostAllocMapped | cudaHostAllocPortable) !=
              cudaSuccess;
    begins = false;
    arena_ = static_cast<std::byte*>(arena);
    return arena_ != nullptr;
  }

  std::recursive_mutex mutex_;
  std::byte* arena_ = nullptr;
  bool failed_ = false;
  size_t used_ = 0;
  std::array<Piece*, 64> free_ = {};
};

SharedMemory& TheMemory() {
  alignas(SharedMemory) static std::byte storage[sizeof(SharedMemory)];
  static auto* const memory = new (storage) SharedMemory;
  return *memory;
}

// In front of each piece: its size, at a distance that keeps it aligned.
struct alignas(kAlignment) Header {
  size_t bytes;
};

void* TakePiece(size_t bytes) {
  const size_t all = bytes + sizeof(Header);
  void* memory = TheMemory().Take(all);
  if (memory == nullptr) {
    memory = std::aligned_alloc(kAlignment, (all + kAlignment - 1) / kAlignment * kAlignment);
  }
  if (memory == nullptr) std::abort();
  return new (memory) Header{all} + 1;
}

void GivePiece(void* piece) {
  if (piece == nullptr) return;
  Header* const header = static_cast<Header*>(piece) - 1;
  if (!TheMemory().Give(header, header->bytes)) std::free(header);
}

}  // namespace

// NOLINTBEGIN(misc-new-delete-overloads): the other forms call these.
void* operator new(size_t bytes) { return TakePiece(bytes); }
void* operator new(size_t bytes, std::align_val_t) { return TakePiece(bytes); }
void operator delete(void* piece) noexcept { GivePiece(piece); }
void operator delete(void* piece, size_t) noexcept { GivePiece(piece); }
void operator delete(void* piece, std::align_val_t) noexcept { GivePiece(piece); }
void operator delete(void* piece, size_t, std::align_val_t) noexcept { GivePiece(piece); }
// NOLINTEND(misc-new-delete-overloads)

namespace phalanx::kernels {

std::vector<CudaVariant> CudaVariants() {
  return {{"Gpu", [] {}}};
}

std::vector<BackendUnderTest> AllBackends() {
  // A process that uses a GPU cannot be forked.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  return {{"CudaGpu",
           [] { return MakeCudaBackend({.activations = DType::kF32, .loading_threads = 2}); }}};
}

}  // namespace phalanx::kernels
