#include "kernels/cpu/product_runner.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace phalanx::kernels {
namespace {

// Outputs that a thread takes at once. Kernels handle up to four groups of outputs together; a
// smaller grain would cut these apart.
constexpr int64_t kGrainOutputs = 32;

// Outputs of a matrix that lie side by side.
struct Columns {
  int64_t first;
  int64_t count;
};

// The outputs of some groups. The last group may have fewer than the others.
Columns ColumnsOfGroups(int64_t group_begin, int64_t group_end, const PackedMatrix& matrix) {
  const int64_t group_rows = matrix.format->group_rows();
  const int64_t first = group_begin * group_rows;
  return {first, std::min(group_end * group_rows, matrix.out_features) - first};
}

// Calls run(begin, end) for groups that cover all of `matrix`, on any thread. Threads share out the
// outputs and not the rows: a decode has few rows, and this way each weight is read and decoded by
// one thread only.
template <typename Function>
void ForEachGroups(ThreadTeam& team, const PackedMatrix& matrix, Function run) {
  team.ParallelFor(matrix.groups(), kGrainOutputs / matrix.format->group_rows(), run);
}

size_t RoundUp(size_t bytes) {
  return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

size_t ProductBytes(const WorkspaceLimits& limits) {
  return static_cast<size_t>(limits.max_tokens * std::max(limits.hidden, limits.local_ffn)) *
         sizeof(float);
}

}  // namespace

void CheckReserved(Op op, size_t bytes, size_t reserved) {
  if (bytes <= reserved) return;
  std::fprintf(stderr, "%s: takes %zu bytes of workspace, but %zu are reserved\n", OpName(op),
               bytes, reserved);
  std::abort();
}

size_t ProductRunner::PreparedBytes(const WorkspaceLimits& limits) const {
  const int64_t widest =
      std::max({limits.hidden, limits.local_ffn, limits.local_q_heads * limits.head_dim});
  const int64_t rows = std::max(limits.max_tokens, limits.max_seqs);
  return RoundUp(quantized_.PreparedBytes(rows, widest));
}

size_t ProductRunner::ScratchBytes(const WorkspaceLimits& limits) const {
  return PreparedBytes(limits) + ProductBytes(limits);
}

void ProductRunner::Reserve(const WorkspaceLimits& limits, std::byte* scratch) {
  scratch_ = scratch;
  prepared_bytes_ = PreparedBytes(limits);
  product_bytes_ = ProductBytes(limits);
}

float* ProductRunner::Product(Op op, int64_t elements) {
  CheckReserved(op, static_cast<size_t>(elements) * sizeof(float), product_bytes_);
  return reinterpret_cast<float*>(scratch_ + prepared_bytes_);
}

void ProductRunner::Prepare(Op op, LinearTask& task) {
  const LinearFormat& format = *task.weights->format;
  const size_t bytes = format.PreparedBytes(task.rows, task.weights->in_features);
  if (bytes == 0) return;
  CheckReserved(op, bytes, prepared_bytes_);
  team_.ForEachRow(format.PrepareParts(task.rows), task.rows * task.weights->in_features,
                   [&](int64_t part) { format.Prepare(task, part, part + 1, scratch_); });
  task.prepared = scratch_;
}

void ProductRunner::Linear(const Tensor& x, const CpuLinear& w, const Tensor& bias,
                           const Tensor& out) {
  if (x.rows == 0) return;
  for (const CpuLinear::Segment& segment : w.segments()) {
    LinearTask task = {.weights = &segment.matrix,
                       .x = x.f32(),
                       .rows = x.rows,
                       .bias = bias.data == nullptr ? nullptr : bias.f32() + segment.first_output,
                       .out = out.f32() + segment.first_output,
                       .out_stride = w.out_features()};
    Prepare(Op::kLinear, task);
    ForEachGroups(team_, segment.matrix, [&](int64_t begin, int64_t end) {
      segment.matrix.format->Run(task, begin, end);
    });
  }
}

void ProductRunner::LinearAdd(const Tensor& x, const CpuLinear& w, const Tensor& residual) {
  if (x.rows == 0) return;
  const int64_t n = w.out_features();
  float* const product = Product(Op::kLinearAdd, x.rows * n);
  for (const CpuLinear::Segment& segment : w.segments()) {
    LinearTask task = {.weights = &segment.matrix,
                       .x = x.f32(),
                       .rows = x.rows,
                       .out = product + segment.first_output,
                       .out_stride = n};
    Prepare(Op::kLinearAdd, task);
    float* const sum = residual.f32() + segment.first_output;
    // The thread that made a product adds it, while it is in its cache.
    ForEachGroups(team_, segment.matrix, [&](int64_t begin, int64_t end) {
      segment.matrix.format->Run(task, begin, end);
      const Columns columns = ColumnsOfGroups(begin, end, segment.matrix);
      for (int64_t i = 0; i < x.rows; ++i) {
        const int64_t at = i * n + columns.first;
        kernels_.add(task.out + at, columns.count, sum + at);
      }
    });
  }
}

void ProductRunner::GatedLinear(const Tensor& x, const CpuGatedLinear& w, const Tensor& out) {
  if (x.rows == 0) return;
  const int64_t n = w.out_features();
  // `out` holds the gate until it is multiplied.
  LinearTask gate = {
      .weights = &w.gate(), .x = x.f32(), .rows = x.rows, .out = out.f32(), .out_stride = n};
  LinearTask up = {.weights = &w.up(),
                   .x = x.f32(),
                   .rows = x.rows,
                   .out = Product(Op::kGatedLinear, x.rows * n),
                   .out_stride = n};
  const auto multiply = [&](int64_t begin, int64_t end) {
    w.gate().format->Run(gate, begin, end);
    const Columns columns = ColumnsOfGroups(begin, end, w.gate());
    for (int64_t i = 0; i < x.rows; ++i) {
      const int64_t at = i * n + columns.first;
      kernels_.silu_mul(gate.out + at, up.out + at, columns.count, gate.out + at);
    }
  };
  if (gate.weights->dtype == up.weights->dtype) {
    Prepare(Op::kGatedLinear, gate);
    up.prepared = gate.prepared;
    ForEachGroups(team_, w.gate(), [&](int64_t begin, int64_t end) {
      w.up().format->Run(up, begin, end);
      multiply(begin, end);
    });
    return;
  }
  // There is room for one prepared input only.
  Prepare(Op::kGatedLinear, up);
  ForEachGroups(team_, w.up(),
                [&](int64_t begin, int64_t end) { w.up().format->Run(up, begin, end); });
  Prepare(Op::kGatedLinear, gate);
  ForEachGroups(team_, w.gate(), multiply);
}

}  // namespace phalanx::kernels
