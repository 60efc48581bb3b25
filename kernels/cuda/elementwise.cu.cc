#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/kv_numbers.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/warp.h"
#include "kernels/cuda/weights.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;

// One thread for each of `count` elements.
LaunchShape ForEach(int64_t count) {
  return {.grid = dim3(static_cast<uint32_t>(CeilDivide(count, kThreads))),
          .block = dim3(kThreads)};
}
// One block for each of `rows` rows.
LaunchShape ForEachRow(int64_t rows) {
  return {.grid = dim3(static_cast<uint32_t>(rows)), .block = dim3(kThreads)};
}

__device__ int64_t GlobalThread() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

__device__ int32_t TokenIdOf(const StepBatch& batch, int64_t t) {
  const int32_t id = batch.token_ids[t];
  return id == kLastToken ? batch.last_tokens[batch.slots[batch.seq_of_token[t]]] : id;
}

// --- Block tables and last tokens ---

// One warp. Entries take effect in order: of those that set the same place the last one must win,
// so of the 32 entries that are set together the others of that place are left out.
__global__ void UpdateBlockTablesKernel(StepBatch batch) {
  WaitForPrevious();
  const int lane = LaneId();
  for (int32_t first = 0; first < batch.num_table_entries; first += kWarpSize) {
    const int32_t i = first + lane;
    const bool is_entry = i < batch.num_table_entries;
    const TableEntry entry = is_entry ? batch.table_entries[i] : TableEntry{-1, -1, 0};
    bool is_last = is_entry;
    for (int other = 0; other < kWarpSize; ++other) {
      const int32_t slot = __shfl_sync(kAllLanes, entry.slot, other);
      const int32_t index = __shfl_sync(kAllLanes, entry.index, other);
      is_last &= other <= lane || slot != entry.slot || index != entry.index;
    }
    if (is_last) {
      batch.block_tables[int64_t{entry.slot} * batch.max_blocks_per_seq + entry.index] =
          entry.block;
    }
    __syncwarp();
  }
}

__global__ void StoreLastTokensKernel(SamplingBatch batch, const int32_t* tokens,
                                      int32_t* last_tokens) {
  WaitForPrevious();
  const int64_t i = GlobalThread();
  if (i < batch.num_logit_rows) last_tokens[batch.logit_slots[i]] = tokens[i];
}

// --- Embedding ---

template <WeightFormat kFormat, typename Out>
__global__ void EmbedKernel(StepBatch batch, DeviceMatrix matrix, int64_t first_row,
                            int64_t first_output, bool zeroes_others, Out* out) {
  WaitForPrevious();
  const int64_t t = blockIdx.x;
  const int64_t output = TokenIdOf(batch, t) - first_row - first_output;
  const bool is_here = output >= 0 && output < matrix.out_features;
  if (!is_here && !zeroes_others) return;
  Out* const to = out + t * matrix.in_features;
  for (int64_t i = threadIdx.x; i < matrix.in_features; i += blockDim.x) {
    to[i] = FromFloat<Out>(is_here ? WeightAt<kFormat>(matrix, output, i) : 0.0f);
  }
}

// --- Norms ---

static_assert(kThreads == kNormThreads);

template <int kCount, typename T, typename Out>
__global__ void RmsNormKernel(const T* x, const float* weight, float eps, int64_t cols, Out* out) {
  WaitForPrevious();
  const int64_t at = blockIdx.x * cols;
  NormRows<kCount, 1>(x + at, 1, cols, weight, eps, out + at, cols);
}

template <int kCount, typename Residual, typename T>
__global__ void AddRmsNormKernel(Residual* residual, const T* delta, const float* weight, float eps,
                                 int64_t cols, T* out) {
  WaitForPrevious();
  Residual* const row = residual + blockIdx.x * cols;
  const T* const added = delta + blockIdx.x * cols;
  for (int64_t i = threadIdx.x * kCount; i < cols; i += blockDim.x * kCount) {
    float x[kCount];
    float d[kCount];
    LoadFloats<kCount>(row + i, x);
    LoadFloats<kCount>(added + i, d);
#pragma unroll
    for (int j = 0; j < kCount; ++j) x[j] += d[j];
    StoreFloats<kCount>(x, row + i);
  }
  // Each thread reads back what it wrote itself.
  NormRows<kCount, 1>(row, 1, cols, weight, eps, out + blockIdx.x * cols, cols);
}

template <typename Function>
void WithCount(int64_t cols, Function f) {
  if (cols % kNormPack == 0) {
    f(std::integral_constant<int, kNormPack>());
  } else {
    f(std::integral_constant<int, 1>());
  }
}

// --- Rotary embedding ---

__global__ void RopeAnglesKernel(StepBatch batch, const float* inv_freq, int64_t half, float factor,
                                 float* cos_sin) {
  WaitForPrevious();
  const int64_t i = GlobalThread();
  const int64_t t = i / half;
  const int64_t j = i % half;
  if (t >= batch.num_tokens) return;
  const int32_t list = batch.rope_lists[batch.seq_of_token[t]];
  const float angle = static_cast<float>(batch.positions[t]) * inv_freq[list * half + j];
  float* const row = cos_sin + t * 2 * half;
  row[j] = cosf(angle) * factor;
  row[half + j] = sinf(angle) * factor;
}

// One block for each token.
template <typename T, typename Kv>
__global__ void RopeAndWriteKvKernel(StepBatch batch, const float* cos_sin, int half,
                                     int local_q_heads, T* qkv, int64_t qkv_cols, KvLayer cache) {
  WaitForPrevious();
  const int64_t t = blockIdx.x;
  const TokenAngles angles(cos_sin, t, half);
  T* const row = qkv + t * qkv_cols;
  const int head_dim = cache.head_dim;
  const int turned_heads = local_q_heads + cache.num_kv_heads;
  for (int i = static_cast<int>(threadIdx.x); i < turned_heads * half; i += blockDim.x) {
    T* const low = row + i / half * head_dim + i % half;
    T* const high = low + half;
    const float cosine = angles.cosines[i % half];
    const float sine = angles.sines[i % half];
    const float a = ToFloat(*low);
    const float b = ToFloat(*high);
    *low = FromFloat<T>(RotatedLow(a, b, cosine, sine));
    *high = FromFloat<T>(RotatedHigh(a, b, cosine, sine));
  }
  __syncthreads();
  const int position = batch.positions[t];
  const int64_t slot = batch.slots[batch.seq_of_token[t]];
  const int64_t block =
      batch.block_tables[slot * batch.max_blocks_per_seq + position / kKvBlockTokens];
  // A warp for each key and each value, in turns.
  for (int i = WarpId(); i < 2 * cache.num_kv_heads; i += kWarps) {
    const T* const key = row + (local_q_heads + i / 2) * head_dim;
    const T* const value = key + cache.num_kv_heads * head_dim;
    WriteToken<Kv>(
        cache, cache.ScaleOffset(block, i / 2, position % kKvBlockTokens), i % 2,
        [&](int d) { return ToFloat(key[d]); }, [&](int d) { return ToFloat(value[d]); });
  }
}

template <typename T>
__global__ void GatherRowsKernel(const int32_t* rows, const T* x, int64_t cols, T* out) {
  WaitForPrevious();
  const T* const from = x + rows[blockIdx.x] * cols;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) out[blockIdx.x * cols + i] = from[i];
}

template <typename T>
T* Data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data);
}

}  // namespace

void LaunchUpdateBlockTables(cudaStream_t stream, const StepBatch& batch) {
  if (batch.num_table_entries == 0) return;
  Launch(stream, {.grid = dim3(1), .block = dim3(kWarpSize)}, UpdateBlockTablesKernel, batch);
}

void LaunchStoreLastTokens(cudaStream_t stream, const SamplingBatch& batch, const int32_t* tokens,
                           int32_t* last_tokens) {
  Launch(stream, ForEach(batch.num_logit_rows), StoreLastTokensKernel, batch, tokens, last_tokens);
}

void LaunchEmbed(cudaStream_t stream, const StepBatch& batch, const DeviceMatrix& matrix,
                 int64_t first_row, int64_t first_output, bool zeroes_others, const Tensor& out) {
  WithFormat(matrix.format, [&](auto format) {
    WithType(out.dtype, [&](auto tag) {
      using Out = typename decltype(tag)::Type;
      Launch(stream, ForEachRow(batch.num_tokens), EmbedKernel<decltype(format)::value, Out>, batch,
             matrix, first_row, first_output, zeroes_others, Data<Out>(out));
    });
  });
}

void LaunchRmsNorm(cudaStream_t stream, const Tensor& x, const Tensor& weight, float eps,
                   const Tensor& out) {
  WithCount(x.cols, [&](auto count) {
    WithType(x.dtype, [&](auto x_tag) {
      WithType(out.dtype, [&](auto out_tag) {
        using T = typename decltype(x_tag)::Type;
        using Out = typename decltype(out_tag)::Type;
        Launch(stream, ForEachRow(x.rows), RmsNormKernel<decltype(count)::value, T, Out>,
               Data<T>(x), Data<float>(weight), eps, x.cols, Data<Out>(out));
      });
    });
  });
}

void LaunchAddRmsNorm(cudaStream_t stream, const Tensor& residual, const Tensor& delta,
                      const Tensor& weight, float eps, const Tensor& out) {
  WithCount(residual.cols, [&](auto count) {
    WithType(residual.dtype, [&](auto residual_tag) {
      WithType(out.dtype, [&](auto tag) {
        using Residual = typename decltype(residual_tag)::Type;
        using T = typename decltype(tag)::Type;
        Launch(stream, ForEachRow(residual.rows),
               AddRmsNormKernel<decltype(count)::value, Residual, T>, Data<Residual>(residual),
               Data<T>(delta), Data<float>(weight), eps, residual.cols, Data<T>(out));
      });
    });
  });
}

void LaunchRopeAngles(cudaStream_t stream, const StepBatch& batch, const Tensor& inv_freq,
                      float factor, const Tensor& cos_sin) {
  const int64_t half = inv_freq.cols;
  Launch(stream, ForEach(batch.num_tokens * half), RopeAnglesKernel, batch, Data<float>(inv_freq),
         half, factor, Data<float>(cos_sin));
}

void LaunchRopeAndWriteKv(cudaStream_t stream, const StepBatch& batch, const Tensor& cos_sin,
                          int local_q_heads, const Tensor& qkv, const KvLayer& cache) {
  WithType(qkv.dtype, [&](auto tag) {
    WithKvType(cache.dtype, [&](auto kv_tag) {
      using T = typename decltype(tag)::Type;
      using Kv = typename decltype(kv_tag)::Type;
      Launch(stream, ForEachRow(batch.num_tokens), RopeAndWriteKvKernel<T, Kv>, batch,
             Data<float>(cos_sin), static_cast<int>(cos_sin.cols / 2), local_q_heads, Data<T>(qkv),
             qkv.cols, cache);
    });
  });
}

void LaunchGatherRows(cudaStream_t stream, const int32_t* rows, const Tensor& x,
                      const Tensor& out) {
  WithType(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    Launch(stream, ForEachRow(out.rows), GatherRowsKernel<T>, rows, Data<T>(x), x.cols,
           Data<T>(out));
  });
}

}  // namespace phalanx::kernels::cuda
