#include "kernels/cuda/weight_upload.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/dequantize.h"
#include "kernels/dtype.h"
#include "kernels/quant_block.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr size_t kStageBytes = size_t{16} << 20;
constexpr size_t kArrayAlignment = 256;  // Of each array of a layer.
constexpr size_t kRowAlignment = 16;     // Of rows of floats.

// Fewer units than this are not worth another thread.
constexpr int64_t kLeastUnitsPerThread = 8;

size_t RoundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

WeightFormat FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return WeightFormat::kF32;
    case DType::kF16:
      return WeightFormat::kF16;
    case DType::kBF16:
      return WeightFormat::kBF16;
    case DType::kIQ4_NL:
      // Its levels are no sequence of numbers.
      return WeightFormat::kLevels8;
    default:
      return CodeBits(dtype) <= 4 ? WeightFormat::kCodes4 : WeightFormat::kLevels8;
  }
}

// The arrays of a matrix, by their sizes.
struct MatrixBytes {
  size_t row = 0;  // Of floats, or 0.
  size_t data = 0;
  size_t scales = 0;
  size_t minimums = 0;

  size_t total() const {
    return RoundUp(data, kArrayAlignment) + RoundUp(scales, kArrayAlignment) +
           RoundUp(minimums, kArrayAlignment);
  }
};

int64_t Tiles(int64_t outputs) { return (outputs + kTileRows - 1) / kTileRows; }

MatrixBytes BytesOf(const LinearSize& size) {
  MatrixBytes bytes;
  if (!IsQuantized(size.dtype)) {
    bytes.row = RoundUp(RowBytes(size.dtype, size.in_features), kRowAlignment);
    bytes.data = bytes.row * static_cast<size_t>(size.out_features);
    return bytes;
  }
  const auto weights = static_cast<size_t>(Tiles(size.out_features) * kTileRows * size.in_features);
  bytes.data = FormatOf(size.dtype) == WeightFormat::kCodes4 ? weights / 2 : weights;
  bytes.scales = weights / static_cast<size_t>(SubBlockElements(size.dtype)) * sizeof(float);
  if (HasMinimum(size.dtype)) bytes.minimums = bytes.scales;
  return bytes;
}

// A quantized source; writes the units of its arrays, which are tiles.
class QuantizedTiles {
 public:
  explicit QuantizedTiles(const LinearSource& source)
      : source_(source),
        chunks_(source.in_features / kChunkInputs),
        sub_blocks_(kChunkInputs / SubBlockElements(source.dtype)) {}

  int64_t count() const { return Tiles(static_cast<int64_t>(source_.rows.size())); }
  int sub_blocks() const { return sub_blocks_; }
  size_t code_bytes() const {
    return static_cast<size_t>(chunks_ * kTileRows * kChunkInputs) / (packs_nibbles() ? 2 : 1);
  }
  size_t scale_bytes() const {
    return static_cast<size_t>(chunks_ * sub_blocks_ * kTileRows) * sizeof(float);
  }

  void WriteCodes(int64_t tile, std::byte* to) const {
    std::memset(to, 0, code_bytes());
    ForEachBlock(tile, [&](int row, int64_t first, const QuantBlock& block) {
      for (int k = 0; k < BlockElements(source_.dtype); ++k) {
        const int64_t at = CodeIndex(chunks_, row, first + k);
        if (packs_nibbles()) {
          to[at / 2] |= static_cast<std::byte>(block.codes[k] << at % 2 * 4);
        } else {
          to[at] = static_cast<std::byte>(QuantLevel(source_.dtype, block.codes[k]));
        }
      }
    });
  }

  void WriteScales(int64_t tile, std::byte* to) const {
    WriteFloats(tile, to, [](const QuantBlock& block, int sub_block) {
      return HalfToFloat(block.d) * static_cast<float>(block.scales[sub_block]);
    });
  }
  void WriteMinimums(int64_t tile, std::byte* to) const {
    WriteFloats(tile, to, [](const QuantBlock& block, int sub_block) {
      return HalfToFloat(block.m) * static_cast<float>(block.minimums[sub_block]);
    });
  }

 private:
  bool packs_nibbles() const { return FormatOf(source_.dtype) == WeightFormat::kCodes4; }

  // Calls f(row in the tile, first input of the block, block).
  template <typename Function>
  void ForEachBlock(int64_t tile, Function f) const {
    const int block_elements = BlockElements(source_.dtype);
    const int64_t first = tile * kTileRows;
    const int64_t end = std::min<int64_t>(first + kTileRows, source_.rows.size());
    for (int64_t row = first; row < end; ++row) {
      const std::byte* from = source_.rows[row];
      for (int64_t input = 0; input < source_.in_features; input += block_elements) {
        f(static_cast<int>(row - first), input, ReadQuantBlock(source_.dtype, from));
        from += BlockBytes(source_.dtype);
      }
    }
  }

  template <typename Value>
  void WriteFloats(int64_t tile, std::byte* to, Value value) const {
    std::memset(to, 0, scale_bytes());
    const int elements = SubBlockElements(source_.dtype);
    ForEachBlock(tile, [&](int row, int64_t first, const QuantBlock& block) {
      for (int s = 0; s < BlockElements(source_.dtype) / elements; ++s) {
        const float x = value(block, s);
        const int64_t at = ScaleIndex(chunks_, sub_blocks_, row, first + s * elements);
        std::memcpy(to + at * static_cast<int64_t>(sizeof(float)), &x, sizeof(float));
      }
    });
  }

  const LinearSource& source_;
  const int64_t chunks_;
  const int sub_blocks_;
};

LinearSize SizeOf(const LinearSource& source) {
  return {source.dtype, source.in_features, static_cast<int64_t>(source.rows.size())};
}

}  // namespace

CudaLinear::CudaLinear(std::unique_ptr<CudaBuffer> memory, std::vector<Segment> segments)
    : memory_(std::move(memory)), segments_(std::move(segments)) {
  for (const Segment& segment : segments_) out_features_ += segment.matrix.out_features;
}

size_t LinearBytesOnDevice(absl::Span<const LinearSize> sizes) {
  size_t bytes = 0;
  for (const LinearSize& size : sizes) bytes += BytesOf(size).total();
  return bytes;
}

std::vector<LinearSize> MergeNeighbours(absl::Span<const LinearSize> sizes) {
  std::vector<LinearSize> merged;
  for (const LinearSize& size : sizes) {
    if (!merged.empty() && merged.back().dtype == size.dtype) {
      merged.back().out_features += size.out_features;
    } else {
      merged.push_back(size);
    }
  }
  return merged;
}

absl::StatusOr<std::unique_ptr<WeightUploader>> WeightUploader::Create(int device, int threads) {
  auto uploader = std::unique_ptr<WeightUploader>(new WeightUploader(device, threads));
  for (Stage& stage : uploader->stages_) {
    auto new_memory = PinnedBuffer::Create(kStageBytes);
    if (!new_memory.ok()) return new_memory.status();
    stage.memory = *std::move(new_memory);
    auto new_stream = CudaStream::Create(device);
    if (!new_stream.ok()) return new_stream.status();
    stage.stream = *std::move(new_stream);
  }
  return uploader;
}

absl::Status WeightUploader::Copy(std::byte* to, int64_t units, size_t unit_bytes,
                                  const std::function<void(int64_t, std::byte*)>& fill) {
  if (unit_bytes > kStageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a row or tile of ", unit_bytes, " bytes of weights is too long"));
  }
  const auto units_per_stage = static_cast<int64_t>(kStageBytes / unit_bytes);
  for (int64_t first = 0; first < units; first += units_per_stage) {
    const int64_t count = std::min(units_per_stage, units - first);
    Stage& stage = stages_[next_stage_];
    next_stage_ = 1 - next_stage_;
    if (absl::Status status = stage.stream->Synchronize(); !status.ok()) return status;
    std::byte* const memory = stage.memory->at(0);
    const auto fill_part = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        fill(first + i, memory + static_cast<size_t>(i) * unit_bytes);
      }
    };
    const int64_t parts =
        std::clamp<int64_t>(count / kLeastUnitsPerThread, 1, static_cast<int64_t>(threads_));
    std::vector<std::future<void>> others;
    for (int64_t part = 1; part < parts; ++part) {
      others.push_back(std::async(std::launch::async, fill_part, count * part / parts,
                                  count * (part + 1) / parts));
    }
    fill_part(0, count / parts);
    for (std::future<void>& other : others) other.get();
    const cudaError_t error = cudaMemcpyAsync(to + static_cast<size_t>(first) * unit_bytes, memory,
                                              static_cast<size_t>(count) * unit_bytes,
                                              cudaMemcpyHostToDevice, stage.stream->handle());
    if (absl::Status status = CudaStatus(error, "copying weights to the GPU"); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CudaLinear>> WeightUploader::Upload(
    absl::Span<const LinearSource> sources) {
  std::vector<LinearSize> sizes;
  for (const LinearSource& source : sources) sizes.push_back(SizeOf(source));
  auto made_memory = CudaBuffer::Create(device_, LinearBytesOnDevice(sizes), "weights");
  if (!made_memory.ok()) return made_memory.status();
  std::unique_ptr<CudaBuffer> memory = *std::move(made_memory);
  std::vector<Segment> segments;
  size_t offset = 0;
  int64_t first_output = 0;
  const auto take = [&](size_t bytes) {
    std::byte* const at = memory->bytes_at(offset);
    offset += RoundUp(bytes, kArrayAlignment);
    return at;
  };
  for (const LinearSource& source : sources) {
    const LinearSize size = SizeOf(source);
    const MatrixBytes bytes = BytesOf(size);
    DeviceMatrix matrix = {.format = FormatOf(size.dtype),
                           .in_features = size.in_features,
                           .out_features = size.out_features};
    std::byte* const data = take(bytes.data);
    matrix.data = data;
    if (!IsQuantized(size.dtype)) {
      matrix.row_stride = static_cast<int64_t>(bytes.row / BlockBytes(size.dtype));
      const size_t used = RowBytes(size.dtype, size.in_features);
      if (absl::Status status = Copy(data, size.out_features, bytes.row,
                                     [&](int64_t row, std::byte* at) {
                                       std::memcpy(at, source.rows[row], used);
                                       std::memset(at + used, 0, bytes.row - used);
                                     });
          !status.ok())
        return status;
    } else {
      const QuantizedTiles tiles(source);
      matrix.sub_blocks = tiles.sub_blocks();
      matrix.zero = CodeOfZero(size.dtype);
      if (absl::Status status =
              Copy(data, tiles.count(), tiles.code_bytes(),
                   [&](int64_t tile, std::byte* at) { tiles.WriteCodes(tile, at); });
          !status.ok())
        return status;
      std::byte* const scales = take(bytes.scales);
      matrix.scales = reinterpret_cast<const float*>(scales);
      if (absl::Status status =
              Copy(scales, tiles.count(), tiles.scale_bytes(),
                   [&](int64_t tile, std::byte* at) { tiles.WriteScales(tile, at); });
          !status.ok())
        return status;
      if (bytes.minimums > 0) {
        std::byte* const minimums = take(bytes.minimums);
        matrix.minimums = reinterpret_cast<const float*>(minimums);
        if (absl::Status status =
                Copy(minimums, tiles.count(), tiles.scale_bytes(),
                     [&](int64_t tile, std::byte* at) { tiles.WriteMinimums(tile, at); });
            !status.ok())
          return status;
      }
    }
    segments.push_back({matrix, first_output});
    first_output += size.out_features;
  }
  // The copies read pinned memory and not the sources, but who uses the weights must find them.
  for (const Stage& stage : stages_)
    if (absl::Status status = stage.stream->Synchronize(); !status.ok()) return status;
  return std::make_unique<CudaLinear>(std::move(memory), std::move(segments));
}

absl::StatusOr<std::unique_ptr<CudaLinear>> WeightUploader::UploadMerged(
    absl::Span<const LinearSource> sources) {
  // The rows of each source that there will be.
  std::vector<std::vector<const std::byte*>> rows;
  std::vector<LinearSource> merged;
  for (const LinearSource& source : sources) {
    if (merged.empty() || merged.back().dtype != source.dtype) {
      rows.emplace_back();
      merged.push_back({.dtype = source.dtype, .in_features = source.in_features, .rows = {}});
    }
    rows.back().insert(rows.back().end(), source.rows.begin(), source.rows.end());
  }
  for (size_t i = 0; i < merged.size(); ++i) merged[i].rows = rows[i];
  return Upload(merged);
}

}  // namespace phalanx::kernels::cuda
