// Tiles in plain memory, for tests on machines that have no AMX. They do what Intel's manual says
// of the instructions of HardwareTiles ("Intel 64 and IA-32 Architectures Software Developer's
// Manual", volume 2: LDTILECFG, TDPBSSD, TILELOADD, TILERELEASE, TILESTORED and TILEZERO), and end
// the process with a message where these would fault.
#ifndef PHALANX_KERNELS_CPU_EMULATED_TILES_H_
#define PHALANX_KERNELS_CPU_EMULATED_TILES_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/amx_tiles.h"

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
    CheckUsed(kSums);
    CheckUsed(kA);
    CheckUsed(kB);
    const int m_end = config_.rows[kSums];
    const int n_end = config_.row_bytes[kSums] / 4;
    const int k_end = config_.row_bytes[kA] / 4;
    Check(config_.row_bytes[kSums] % 4 == 0 && config_.row_bytes[kA] % 4 == 0, "bytes, not words");
    Check(config_.rows[kA] == m_end, "other rows of the first factor than of the sums");
    Check(config_.row_bytes[kB] == 4 * n_end, "other columns of the second factor");
    Check(config_.rows[kB] == k_end, "factors that do not agree");
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

 private:
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
