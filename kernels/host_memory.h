// Buffers and streams of the backends that compute on the host.
#ifndef PHALANX_KERNELS_HOST_MEMORY_H_
#define PHALANX_KERNELS_HOST_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// Anonymous memory, zeroed, aligned to a page, in huge pages where the system has them. Takes
// physical memory only as it is touched.
class HostBuffer : public Buffer {
 public:
  // RESOURCE_EXHAUSTED, telling the bytes, if there is not so much address space.
  static absl::StatusOr<std::unique_ptr<HostBuffer>> Create(size_t bytes);

  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer() override;

  // Calls take(piece) once for each piece in [0, pieces), on any threads, and returns when all
  // calls have returned.
  using ForEachPiece =
      absl::FunctionRef<void(size_t pieces, absl::FunctionRef<void(size_t piece)> take)>;

  // Has the system give all of the memory now, piece by piece, on the threads of `for_each_piece`:
  // on the NUMA nodes of these, as a rule. Where the buffer is full of zeros, it stays so; no other
  // thread may write to it meanwhile. RESOURCE_EXHAUSTED, telling the bytes, if the system says
  // that it has not so much. A control group that is at its limit does not say so: it kills, so
  // what fits must be known before.
  absl::Status Populate(ForEachPiece for_each_piece);

  void* data() override { return data_; }
  const void* data() const { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  HostBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* const data_;
  const size_t bytes_;
};

// For backends whose ops are done when they return, so that there is nothing to wait for.
class HostStream : public Stream {
 public:
  using Stream::Synchronize;
  absl::Status Synchronize(absl::Duration timeout) override {
    return aborted_ ? absl::AbortedError("the stream was aborted") : absl::OkStatus();
  }
  void Abort() override { aborted_ = true; }

 private:
  std::atomic<bool> aborted_ = false;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_HOST_MEMORY_H_
