// Tiles in plain memory, for tests on machines that have no AMX. They do what Intel's manual says
// of the instructions of HardwareTiles ("Intel 64 and IA-32 Architectures Software Developer's
// Manual", volume 2: LDTILECFG, TDPBF16PS, TDPBSSD, TILELOADD, TILERELEASE, TILESTORED and
// TILEZERO), and end the process with a message where these would fault.
#ifndef PHALANX_KERNELS_CPU_EMULATED_TILES_H_
#define PHALANX_KERNELS_CPU_EMULATED_TILES_H_

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/dequantize.h"

namespace phalanx::kernels::amx {

// Of one thread, as HardwareTiles.
class EmulatedTiles {
 public:
  EmulatedTiles() = default;
  EmulatedTiles(const EmulatedTiles&) = delete;
  EmulatedTiles& operator=(const EmulatedTiles&) = delete;
  ~EmulatedTiles() { Check(!is_configured_, "tiles that are not released"); }

  void Configure(const TileConfig& config) {
    Check(config.palette == 1, "a palette that is not 1");
    Check(config.start_row == 0, "a configuration for a restart");
    for (const uint8_t byte : config.reserved) Check(byte == 0, "a reserved byte that is not 0");
    for (int t = 0; t < 16; ++t) {
      const int rows = config.rows[t];
      const int row_bytes = config.row_bytes[t];
      Check(t < kTiles || (rows == 0 && row_bytes == 0), "a tile that does not exist");
      Check(rows <= kMostTileRows, "a tile of too many rows");
      Check(row_bytes <= kMostRowBytes, "rows of too many bytes");
      Check((rows == 0) == (row_bytes == 0), "a tile of no rows or no bytes");
    }
    config_ = config;
    is_configured_ = true;
    std::memset(tiles_, 0, sizeof(tiles_));
  }
  void Release() {
    config_ = {};
    is_configured_ = false;
    std::memset(tiles_, 0, sizeof(tiles_));
  }

  template <int kTile>
  void Zero() {
    CheckUsed(kTile);
    std::memset(tiles_[kTile], 0, sizeof(tiles_[kTile]));
  }
  template <int kTile>
  void Load(const void* from, int64_t stride) {
    Zero<kTile>();
    for (int row = 0; row < config_.rows[kTile]; ++row) {
      std::memcpy(tiles_[kTile][row], static_cast<const char*>(from) + row * stride,
                  config_.row_bytes[kTile]);
    }
  }
  template <int kTile>
  void Store(void* to, int64_t stride) {
    CheckUsed(kTile);
    for (int row = 0; row < config_.rows[kTile]; ++row) {
      std::memcpy(static_cast<char*>(to) + row * stride, tiles_[kTile][row],
                  config_.row_bytes[kTile]);
    }
  }
  template <int kSums, int kA, int kB>
  void AddDots() {
    static_assert(kSums != kA && kSums != kB && kA != kB, "the tiles must differ");
    const auto [m_end, n_end, k_end] = CheckFactors(kSums, kA, kB);
    for (int m = 0; m < m_end; ++m) {
      int32_t sums[kMostRowBytes / 4];
      std::memcpy(sums, tiles_[kSums][m], sizeof(sums));
      for (int k = 0; k < k_end; ++k) {
        for (int n = 0; n < n_end; ++n) {
          for (int i = 0; i < 4; ++i) {
            sums[n] += tiles_[kA][m][4 * k + i] * tiles_[kB][k][4 * n + i];
          }
        }
      }
      std::memcpy(tiles_[kSums][m], sums, sizeof(sums));
    }
  }
  // The first and the second factors of the pairs of a row are added up apart, each sum rounded at
  // each product; then the two are added, and that to what was there.
  template <int kSums, int kA, int kB>
  void AddBf16Dots() {
    static_assert(kSums != kA && kSums != kB && kA != kB, "the tiles must differ");
    const auto [m_end, n_end, k_end] = CheckFactors(kSums, kA, kB);
    for (int m = 0; m < m_end; ++m) {
      for (int n = 0; n < n_end; ++n) {
        float parts[2] = {};
        for (int k = 0; k < k_end; ++k) {
          for (int i = 0; i < 2; ++i) {
            parts[i] =
                Flushed(std::fma(Bf16At(kA, m, 2 * k + i), Bf16At(kB, k, 2 * n + i), parts[i]));
          }
        }
        float sum;
        std::memcpy(&sum, &tiles_[kSums][m][4 * n], sizeof(sum));
        sum = Flushed(Flushed(sum) + Flushed(parts[0] + parts[1]));
        std::memcpy(&tiles_[kSums][m][4 * n], &sum, sizeof(sum));
      }
    }
  }

 private:
  // Rows and columns of the sums, and what they are summed over, in words.
  struct Shape {
    int m_end;
    int n_end;
    int k_end;
  };
  Shape CheckFactors(int sums, int a, int b) const {
    for (const int tile : {sums, a, b}) CheckUsed(tile);
    const Shape shape = {config_.rows[sums], config_.row_bytes[sums] / 4, config_.row_bytes[a] / 4};
    Check(config_.row_bytes[sums] % 4 == 0 && config_.row_bytes[a] % 4 == 0, "bytes, not words");
    Check(config_.rows[a] == shape.m_end, "other rows of the first factor than of the sums");
    Check(config_.row_bytes[b] == 4 * shape.n_end, "other columns of the second factor");
    Check(config_.rows[b] == shape.k_end, "factors that do not agree");
    return shape;
  }

  static float Flushed(float x) {
    return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
  }
  float Bf16At(int tile, int row, int column) const {
    uint16_t number;
    std::memcpy(&number, &tiles_[tile][row][2 * column], sizeof(number));
    return Flushed(BFloat16ToFloat(number));
  }

  static void Check(bool is_valid, const char* what) {
    if (is_valid) return;
    std::fprintf(stderr, "tiles: %s\n", what);
    std::abort();
  }
  void CheckUsed(int tile) const {
    Check(is_configured_, "no configuration");
    Check(config_.rows[tile] > 0, "a tile that the configuration leaves out");
  }

  bool is_configured_ = false;
  TileConfig config_;
  int8_t tiles_[kTiles][kMostTileRows][kMostRowBytes] = {};
};

}  // namespace phalanx::kernels::amx

#endif  // PHALANX_KERNELS_CPU_EMULATED_TILES_H_
