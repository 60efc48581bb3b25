// How the weights of linear layers lie in device memory.
//
// Matrices of floats lie as they do in a file, row after row, with rows filled up to a whole number
// of 16-byte pieces: libraries read them so.
//
// Quantized matrices are taken apart into codes and scales (kernels/quant_block.h). Types of up to
// 4 bits keep codes of 4 bits, whose level is the code minus `zero`; the others keep levels of 8
// bits, with a sign. The codes lie in the order in which the lanes of a warp feed them to the
// tensor cores: the matrix is cut into tiles of kTileRows outputs by kChunkInputs inputs, tile
// after tile along the inputs; in a tile lie the codes of lane 0, then those of lane 1, and so on.
// Lane 4 g + t has those of the inputs 4 t to 4 t + 3 and 16 + 4 t to 16 + 4 t + 3, first of output
// g, then of output g + 8. Outputs are filled up with zeros to whole tiles.
//
// Beside the codes there is an array of scales and, for some types, one of minimums, float32:
// element [tile, chunk, sub-block, output in the tile]. A weight is scale * level + minimum.
#ifndef PHALANX_KERNELS_CUDA_WEIGHT_LAYOUT_H_
#define PHALANX_KERNELS_CUDA_WEIGHT_LAYOUT_H_

#include <cstdint>

#include "kernels/host_device.h"

namespace phalanx::kernels::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kChunkInputs = 32;

// The formats of one matrix.
enum class WeightFormat { kF32, kF16, kBF16, kCodes4, kLevels8 };

// A matrix in device memory, for kernels.
struct DeviceMatrix {
  WeightFormat format = WeightFormat::kF32;
  int64_t in_features = 0;
  int64_t out_features = 0;
  const void* data = nullptr;  // Floats, or codes.

  // Of floats: elements from one row to the next.
  int64_t row_stride = 0;

  // Of quantized types.
  const float* scales = nullptr;
  const float* minimums = nullptr;  // Null if all are zero.
  int sub_blocks = 1;               // In a chunk: 1 or 2.
  int zero = 0;                     // Of kCodes4.

  PHALANX_HOST_DEVICE int64_t chunks() const { return in_features / kChunkInputs; }
};

// Where element (output, input) of a quantized matrix lies: in units of codes.
PHALANX_HOST_DEVICE inline int64_t CodeIndex(int64_t chunks, int64_t output, int64_t input) {
  const int64_t tile = output / kTileRows;
  const int row = static_cast<int>(output % kTileRows);
  const int64_t chunk = input / kChunkInputs;
  const int in_chunk = static_cast<int>(input % kChunkInputs);
  const int lane = row % 8 * 4 + in_chunk % 16 / 4;
  const int in_lane = row / 8 * 8 + in_chunk / 16 * 4 + in_chunk % 4;
  return ((tile * chunks + chunk) * 32 + lane) * 16 + in_lane;
}

// Where the scale of that element lies.
PHALANX_HOST_DEVICE inline int64_t ScaleIndex(int64_t chunks, int sub_blocks, int64_t output,
                                              int64_t input) {
  const int64_t tile = output / kTileRows;
  const int64_t chunk = input / kChunkInputs;
  const int sub_block = static_cast<int>(input % kChunkInputs * sub_blocks / kChunkInputs);
  return ((tile * chunks + chunk) * sub_blocks + sub_block) * kTileRows + output % kTileRows;
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WEIGHT_LAYOUT_H_
