// The tile registers of AMX: how they are configured, and the instructions that the kernels use.
//
// There are eight. Each holds up to 16 rows of up to 64 bytes; how many, the configuration says,
// for each of them. Kernels are templates over a class with the functions of HardwareTiles, so that
// tests run them with emulated tiles where the processor has none.
#ifndef PHALANX_KERNELS_CPU_AMX_TILES_H_
#define PHALANX_KERNELS_CPU_AMX_TILES_H_

#include <cstdint>

namespace phalanx::kernels::amx {

inline constexpr int kTiles = 8;
inline constexpr int kMostTileRows = 16;
inline constexpr int kMostRowBytes = 64;

// The 64 bytes that ldtilecfg reads. A tile of 0 rows and 0 bytes is not used.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};  // For each tile; those from kTiles on stay 0.
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// The processor's. Each thread has its own tiles and configuration; it must load one before it uses
// them, and should release them before it sleeps, because the system then need not save them and
// the processor saves power. All threads of the process must be allowed to use tiles (AllowTiles).
//
// The instructions are written in assembly. The compiler's functions need the caller to be compiled
// for AMX, those of GCC 12 do not tell it that loads read memory, and its _tile_loadconfig claims
// to read 8 of the 64 bytes, so that stores to the others are left out.
class HardwareTiles {
 public:
  // Zeroes all tiles.
  void Configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
  void Release() { asm volatile("tilerelease"); }

  template <int kTile>
  void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // Rows of memory are `stride` bytes apart.
  template <int kTile>
  void Load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  void Store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // Sums of products of signed bytes: with i32 sums[m][n], i8 a[m][4k] and i8 b[k][4n],
  //   sums[m][n] += the sum over k and i < 4 of a[m][4k + i] * b[k][4n + i].
  // m, n and k are given by the rows and bytes of the three tiles, which must agree and be others.
  template <int kSums, int kA, int kB>
  void AddDots() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
  }
  // Sums of products of bfloat16: with f32 sums[m][n], bf16 a[m][2k] and bf16 b[k][2n],
  //   sums[m][n] += the sum over k and i < 2 of a[m][2k + i] * b[k][2n + i].
  // In which order they are rounded, emulated_tiles.h says. Subnormal numbers count as zeros.
  template <int kSums, int kA, int kB>
  void AddBf16Dots() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
  }
};

}  // namespace phalanx::kernels::amx

#endif  // PHALANX_KERNELS_CPU_AMX_TILES_H_
