// Linear layers of the CPU backend.
#ifndef PHALANX_KERNELS_CPU_PACKED_LINEAR_H_
#define PHALANX_KERNELS_CPU_PACKED_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cpu/linear_format.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/cpu/weight_arena.h"
#include "kernels/linear_source.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// The formats of one backend, for weights of each type. They outlive the weights.
struct LinearFormats {
  const LinearFormat* floats = nullptr;
  const LinearFormat* quantized = nullptr;

  const LinearFormat* For(DType dtype) const { return IsQuantized(dtype) ? quantized : floats; }
};

class CpuLinear : public PackedLinear {
 public:
  // Consecutive outputs whose weights have the same type.
  struct Segment {
    PackedMatrix matrix;
    int64_t first_output = 0;
  };

  // Packs into memory of `arena` on all threads of `team`. Errors as Backend::PackLinear.
  static absl::StatusOr<std::unique_ptr<CpuLinear>> Create(absl::Span<const LinearSource> sources,
                                                           const LinearFormats& formats,
                                                           WeightArena& arena, ThreadTeam& team);
  // The same with a segment for each source, whatever their types.
  static absl::StatusOr<std::unique_ptr<CpuLinear>> CreateApart(
      absl::Span<const LinearSource> sources, const LinearFormats& formats, WeightArena& arena,
      ThreadTeam& team);
  // bytes() of what Create and CreateApart make of sources of these sizes.
  static size_t Bytes(absl::Span<const LinearSize> sources, const LinearFormats& formats);
  static size_t BytesApart(absl::Span<const LinearSize> sources, const LinearFormats& formats);

  int64_t in_features() const override { return shape_.in_features; }
  int64_t out_features() const override { return shape_.out_features; }
  size_t bytes() const override { return weights_.bytes(); }

  absl::Span<const Segment> segments() const { return segments_; }

  // Writes the in_features weights of one output.
  void UnpackOutput(int64_t output, float* out) const;

 private:
  // `segments` have no data yet.
  static absl::StatusOr<std::unique_ptr<CpuLinear>> Pack(absl::Span<const LinearSource> sources,
                                                         std::vector<Segment> segments,
                                                         WeightArena& arena, ThreadTeam& team);
  CpuLinear(LinearShape shape, std::vector<Segment> segments, WeightArena::Part weights);

  const LinearShape shape_;
  const std::vector<Segment> segments_;
  const WeightArena::Part weights_;
};

// Both matrices one behind the other: a thread takes the same outputs of the one and then of the
// other.
class CpuGatedLinear : public PackedGatedLinear {
 public:
  // Errors as Backend::PackGatedLinear.
  static absl::StatusOr<std::unique_ptr<CpuGatedLinear>> Create(const LinearSource& gate,
                                                                const LinearSource& up,
                                                                const LinearFormats& formats,
                                                                WeightArena& arena,
                                                                ThreadTeam& team);

  int64_t in_features() const override { return both_->in_features(); }
  int64_t out_features() const override { return gate().out_features; }
  size_t bytes() const override { return both_->bytes(); }

  const PackedMatrix& gate() const { return both_->segments()[0].matrix; }
  const PackedMatrix& up() const { return both_->segments()[1].matrix; }

 private:
  explicit CpuGatedLinear(std::unique_ptr<CpuLinear> both) : both_(std::move(both)) {}

  const std::unique_ptr<CpuLinear> both_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_PACKED_LINEAR_H_
