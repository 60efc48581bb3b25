#include "kernels/cpu/packed_linear.h"

#include <utility>

namespace phalanx::kernels {
namespace {

// Segments start on a cache line. CpuWeightBytes in model/sharding counts with the same number.
constexpr size_t kAlignment = 64;

size_t AlignedBytes(const PackedMatrix& matrix) {
  return (matrix.bytes() + kAlignment - 1) / kAlignment * kAlignment;
}

// Joins neighbouring sources of one type, if wanted. The matrices have no data yet. Types differ
// where a file keeps some parts of a layer more exactly, for example v with more bits than q and k.
std::vector<CpuLinear::Segment> CutIntoSegments(absl::Span<const LinearSize> sources,
                                                const LinearFormats& formats, bool join) {
  std::vector<CpuLinear::Segment> segments;
  int64_t first_output = 0;
  for (const LinearSize& source : sources) {
    if (segments.empty() || !join || segments.back().matrix.dtype != source.dtype) {
      segments.push_back({.matrix = {.format = formats.For(source.dtype),
                                     .dtype = source.dtype,
                                     .in_features = source.in_features},
                          .first_output = first_output});
    }
    segments.back().matrix.out_features += source.out_features;
    first_output += source.out_features;
  }
  return segments;
}

size_t TotalBytes(absl::Span<const CpuLinear::Segment> segments) {
  size_t bytes = 0;
  for (const CpuLinear::Segment& segment : segments) bytes += AlignedBytes(segment.matrix);
  return bytes;
}

}  // namespace

size_t CpuLinear::Bytes(absl::Span<const LinearSize> sources, const LinearFormats& formats) {
  return TotalBytes(CutIntoSegments(sources, formats, /*join=*/true));
}

size_t CpuLinear::BytesApart(absl::Span<const LinearSize> sources, const LinearFormats& formats) {
  return TotalBytes(CutIntoSegments(sources, formats, /*join=*/false));
}

absl::StatusOr<std::unique_ptr<CpuLinear>> CpuLinear::Create(absl::Span<const LinearSource> sources,
                                                             const LinearFormats& formats,
                                                             WeightArena& arena, ThreadTeam& team) {
  return Pack(sources, CutIntoSegments(SizesOf(sources), formats, /*join=*/true), arena, team);
}

absl::StatusOr<std::unique_ptr<CpuLinear>> CpuLinear::CreateApart(
    absl::Span<const LinearSource> sources, const LinearFormats& formats, WeightArena& arena,
    ThreadTeam& team) {
  return Pack(sources, CutIntoSegments(SizesOf(sources), formats, /*join=*/false), arena, team);
}

absl::StatusOr<std::unique_ptr<CpuLinear>> CpuLinear::Pack(absl::Span<const LinearSource> sources,
                                                           std::vector<Segment> segments,
                                                           WeightArena& arena, ThreadTeam& team) {
  absl::StatusOr<LinearShape> shape = CheckLinearSources(sources);
  if (!shape.ok()) return shape.status();
  absl::StatusOr<WeightArena::Part> weights = arena.Allocate(TotalBytes(segments));
  if (!weights.ok()) return weights.status();

  // All outputs in a line, since the groups that Pack makes may cross from one
  // source to the next.
  std::vector<const std::byte*> rows;
  rows.reserve(shape->out_features);
  for (const LinearSource& source : sources) {
    rows.insert(rows.end(), source.rows.begin(), source.rows.end());
  }
  std::byte* data = weights->data();
  for (Segment& segment : segments) {
    PackedMatrix& matrix = segment.matrix;
    matrix.data = data;
    const auto segment_rows =
        absl::MakeConstSpan(rows).subspan(segment.first_output, matrix.out_features);
    team.ParallelFor(matrix.groups(), 1, [&](int64_t begin, int64_t end) {
      matrix.format->Pack(matrix, segment_rows, begin, end, data);
    });
    data += AlignedBytes(matrix);
  }
  return std::unique_ptr<CpuLinear>(
      new CpuLinear(*shape, std::move(segments), *std::move(weights)));
}

CpuLinear::CpuLinear(LinearShape shape, std::vector<Segment> segments, WeightArena::Part weights)
    : shape_(shape), segments_(std::move(segments)), weights_(std::move(weights)) {}

void CpuLinear::UnpackOutput(int64_t output, float* out) const {
  // Segments are few (one, as a rule) and in the order of their outputs.
  for (const Segment& segment : segments_) {
    const int64_t row = output - segment.first_output;
    if (row < segment.matrix.out_features) {
      return segment.matrix.format->UnpackRow(segment.matrix, row, out);
    }
  }
}

absl::StatusOr<std::unique_ptr<CpuGatedLinear>> CpuGatedLinear::Create(const LinearSource& gate,
                                                                       const LinearSource& up,
                                                                       const LinearFormats& formats,
                                                                       WeightArena& arena,
                                                                       ThreadTeam& team) {
  absl::StatusOr<LinearShape> shape = CheckGatedSources(gate, up);
  if (!shape.ok()) return shape.status();
  absl::StatusOr<std::unique_ptr<CpuLinear>> both =
      CpuLinear::CreateApart({gate, up}, formats, arena, team);
  if (!both.ok()) return both.status();
  return std::unique_ptr<CpuGatedLinear>(new CpuGatedLinear(*std::move(both)));
}

}  // namespace phalanx::kernels
