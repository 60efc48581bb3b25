// How LibraryProducts chooses among the library's algorithms: from a file, and by measuring.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/library_products.h"

namespace phalanx::kernels::cuda {
namespace {

using MeasuringClock = std::chrono::steady_clock;

// Between two lines about the progress of measuring.
constexpr auto kProgressInterval = std::chrono::seconds(5);
// Any small number, so that no sum grows: the bytes of inputs while algorithms are measured.
constexpr int kInputByte = 0x3c;

int64_t MatrixBytesOf(int64_t rows, int64_t cols, DType dtype) {
  return rows * cols * static_cast<int64_t>(BlockBytes(dtype));
}

// A pair of events that tells the time between them.
class EventPair {
 public:
  EventPair() {
    for (cudaEvent_t& event : events_) {
      if (ok_) ok_ = cudaEventCreateWithFlags(&event, cudaEventDefault) == cudaSuccess;
    }
  }
  EventPair(const EventPair&) = delete;
  EventPair& operator=(const EventPair&) = delete;
  ~EventPair() {
    for (const cudaEvent_t event : events_) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }

  absl::StatusOr<absl::Duration> Time(cudaStream_t stream, absl::FunctionRef<absl::Status()> run) {
    if (!ok_) return absl::InternalError("there are no events");
    cudaEventRecord(events_[0], stream);
    if (absl::Status status = run(); !status.ok()) return status;
    cudaEventRecord(events_[1], stream);
    float milliseconds = 0;
    if (absl::Status status =
            CudaStatus(cudaStreamSynchronize(stream), "measuring a product of cuBLASLt");
        !status.ok()) {
      return status;
    }
    if (absl::Status status =
            CudaStatus(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]),
                       "measuring a product of cuBLASLt");
        !status.ok()) {
      return status;
    }
    return absl::Milliseconds(milliseconds);
  }

 private:
  std::array<cudaEvent_t, 2> events_ = {};
  bool ok_ = true;
};

}  // namespace

absl::StatusOr<absl::Duration> TimeByEvents(cudaStream_t stream,
                                            absl::FunctionRef<absl::Status()> run) {
  EventPair events;
  if (auto first = events.Time(stream, run); !first.ok()) return first.status();
  std::array<absl::Duration, 5> times;
  for (absl::Duration& time : times) {
    auto measured = events.Time(stream, run);
    if (!measured.ok()) return measured.status();
    time = *measured;
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

std::vector<LibraryProducts::Wanted> LibraryProducts::WantedProducts(
    const WorkspaceLimits& limits) const {
  std::vector<Wanted> wanted;
  const auto want = [&](const Matrix& matrix, DType out_type, bool adds, int64_t most_rows) {
    if (most_rows < options_.least_rows) return;
    const DType type = *TypeOfWeights(matrix.matrix);
    for (int64_t bucket = BucketOf(options_.least_rows);; bucket *= 2) {
      const ProductShape shape = {.outputs = matrix.matrix.out_features,
                                  .inputs = matrix.matrix.in_features,
                                  .most_rows = bucket,
                                  .in_type = type,
                                  .out_type = out_type,
                                  .adds = adds};
      // Matrices of one shape may have several roles.
      const auto same = [&](const Wanted& other) { return other.shape == shape; };
      if (std::none_of(wanted.begin(), wanted.end(), same)) {
        wanted.push_back({shape, &matrix, std::min(bucket, most_rows)});
      }
      if (bucket >= most_rows) return;
    }
  };
  for (const Matrix& matrix : matrices_) {
    if (matrix.memory.expired() || matrix.matrix.out_features % kOutputsAtOnce != 0) continue;
    if (matrix.role == Role::kGated) {
      want(matrix, DType::kF32, false, std::min(limits.max_tokens, kLibrarySliceRows));
    } else if (matrix.matrix.out_features == limits.local_vocab) {
      want(matrix, DType::kF32, false, limits.max_seqs);
    } else {
      want(matrix, *TypeOfWeights(matrix.matrix), false, limits.max_tokens);
      want(matrix, DType::kF32, true, limits.max_tokens);
      // Products that are to have a bias.
      want(matrix, DType::kF32, false, std::min(limits.max_tokens, kLibrarySliceRows));
    }
  }
  return wanted;
}

// Device memory and a stream to measure products with.
class LibraryProducts::Measurement {
 public:
  // RESOURCE_EXHAUSTED if there is no memory.
  static absl::StatusOr<std::unique_ptr<Measurement>> Create(int device,
                                                             const std::vector<Wanted>& wanted) {
    int64_t input_bytes = 0;
    int64_t output_bytes = 0;
    for (const Wanted& one : wanted) {
      const ProductShape& shape = one.shape;
      input_bytes = std::max(input_bytes, MatrixBytesOf(one.rows, shape.inputs, shape.in_type));
      output_bytes = std::max(output_bytes, MatrixBytesOf(one.rows, shape.outputs, shape.out_type));
    }
    std::unique_ptr<Measurement> measurement(new Measurement);
    auto stream = CudaStream::Create(device);
    if (!stream.ok()) return stream.status();
    measurement->stream_ = *std::move(stream);
    for (auto [buffer, bytes] :
         {std::pair(&measurement->x_, input_bytes), std::pair(&measurement->out_, output_bytes)}) {
      auto memory = CudaBuffer::Create(device, static_cast<size_t>(bytes), "measuring products");
      if (!memory.ok()) return memory.status();
      *buffer = *std::move(memory);
    }
    cudaMemsetAsync(measurement->x_->data(), kInputByte, measurement->x_->bytes(),
                    measurement->stream());
    return measurement;
  }

  cudaStream_t stream() const { return stream_->handle(); }
  Product ProductOf(const Wanted& wanted) const {
    return {.x = x_->data(),
            .rows = wanted.rows,
            .w = &wanted.matrix->matrix,
            .type = wanted.shape.in_type,
            .out = out_->data(),
            .out_type = wanted.shape.out_type,
            .out_stride = wanted.shape.outputs,
            .adds = wanted.shape.adds};
  }

 private:
  Measurement() = default;

  std::unique_ptr<CudaStream> stream_;
  std::unique_ptr<CudaBuffer> x_;
  std::unique_ptr<CudaBuffer> out_;
};

std::vector<LibraryProducts::Wanted> LibraryProducts::TakeFromFile(std::vector<Wanted> wanted) {
  if (options_.cache_folder.empty()) return wanted;
  const absl::StatusOr<ProductChoices> choices = ReadChoices(options_.cache_folder, device_);
  if (!choices.ok()) {
    if (!absl::IsNotFound(choices.status())) {
      options_.log(absl::StrCat("the file ", options_.cache_folder, "/", ChoicesFileName(device_),
                                " of measured products is not used: ", choices.status().message()));
    }
    return wanted;
  }
  const auto take = [&](const Wanted& one) {
    const auto choice = choices->find(one.shape);
    if (choice == choices->end()) return false;
    const Product product = {.rows = one.rows,
                             .w = &one.matrix->matrix,
                             .type = one.shape.in_type,
                             .out_type = one.shape.out_type,
                             .out_stride = one.shape.outputs,
                             .adds = one.shape.adds};
    if (choice->second.has_value() && !Accepts(*choice->second, product)) return false;
    choices_[one.shape] = choice->second;
    return true;
  };
  wanted.erase(std::remove_if(wanted.begin(), wanted.end(), take), wanted.end());
  return wanted;
}

void LibraryProducts::Measure(const std::vector<Wanted>& wanted) {
  const auto measurement = Measurement::Create(options_.device, wanted);
  if (!measurement.ok()) {
    options_.log(
        absl::StrCat("products of cuBLASLt are not measured: ", measurement.status().message()));
    return;
  }
  const MeasuringClock::time_point start = MeasuringClock::now();
  MeasuringClock::time_point told = start;
  options_.log(absl::StrCat("measuring the algorithms of cuBLASLt for ", wanted.size(),
                            " kinds of products"));
  int done = 0;
  for (const Wanted& one : wanted) {
    const Product product = (*measurement)->ProductOf(one);
    std::optional<CublasLtAlgo> best;
    absl::Duration best_time = absl::InfiniteDuration();
    for (const CublasLtAlgo& algo : Candidates(product)) {
      const cudaStream_t stream = (*measurement)->stream();
      const absl::StatusOr<absl::Duration> time =
          options_.time(stream, [&] { return RunBy(algo, stream, product); });
      // The next one is not to be blamed for an error of this one.
      cudaGetLastError();
      if (!time.ok() || *time >= best_time) continue;
      best = algo;
      best_time = *time;
    }
    choices_[one.shape] = best;
    ++done;
    if (MeasuringClock::now() - told >= kProgressInterval) {
      told = MeasuringClock::now();
      options_.log(absl::StrCat("measured ", done, " of ", wanted.size(), " kinds of products"));
    }
  }
  options_.log(
      absl::StrCat("measured ", wanted.size(), " kinds of products in ",
                   absl::FormatDuration(absl::Trunc(absl::FromChrono(MeasuringClock::now() - start),
                                                    absl::Milliseconds(1)))));
  if (options_.cache_folder.empty()) return;
  ProductChoices measured;
  for (const Wanted& one : wanted) measured[one.shape] = choices_[one.shape];
  if (const absl::Status status = WriteChoices(options_.cache_folder, device_, measured);
      !status.ok()) {
    options_.log(absl::StrCat("what was measured is not kept for the next start, in ",
                              options_.cache_folder, ": ", status.message()));
  }
}

void LibraryProducts::Prepare(const WorkspaceLimits& limits, const LibraryMemory& memory) {
  memory_ = memory;
  const std::vector<Wanted> wanted = WantedProducts(limits);
  const std::vector<Wanted> unknown = TakeFromFile(wanted);
  if (wanted.size() > unknown.size()) {
    options_.log(absl::StrCat("the algorithms of cuBLASLt for ", wanted.size() - unknown.size(),
                              " kinds of products are known from an earlier start"));
  }
  if (!unknown.empty()) Measure(unknown);
}

}  // namespace phalanx::kernels::cuda
