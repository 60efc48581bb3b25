#include "kernels/bench/ceilings.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "kernels/cpu/cpu_facts.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/host_memory.h"

#if defined(__x86_64__)
#include "kernels/cpu/amx_tiles.h"
#endif

namespace phalanx::kernels {
namespace {

constexpr int kRounds = 5;
constexpr size_t kReadBytes = size_t{256} << 20;
constexpr int kFmaSteps = 4000000;
constexpr int kDotSteps = 4000000;
constexpr int kTileSteps = 400000;
// Multiply-adds of two full tiles of bytes.
constexpr int kTileProducts = 16 * 16 * 64;
// Of two of bfloat16.
constexpr int kBf16TileProducts = 16 * 16 * 32;
// Chains of multiply-adds in MultiplyAdd, and of dot products in DotBytes, that do not wait for
// each other: enough to keep the processor busy in spite of their latency, few enough for 16
// registers.
constexpr int kChains = 12;

#if defined(__x86_64__)
#define PHALANX_VECTORS __attribute__((target("avx2,fma")))
#else
#define PHALANX_VECTORS
#endif

typedef float Floats __attribute__((vector_size(32)));
typedef int64_t Words __attribute__((vector_size(32)));

// The chains begin with different values, so that the compiler cannot make one of them.
PHALANX_VECTORS void MultiplyAdd() {
  Floats factor = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
  benchmark::DoNotOptimize(factor);
  Floats s0 = factor, s1 = s0 * s0, s2 = s1 * s1, s3 = s2 * s2, s4 = s3 + s3, s5 = s4 + s2;
  Floats s6 = s5 + s1, s7 = s6 * s0, s8 = s7 + s6, s9 = s8 + s7, s10 = s9 + s8, s11 = s10 + s9;
  for (int i = 0; i < kFmaSteps; ++i) {
    s0 = s0 * factor + factor;
    s1 = s1 * factor + factor;
    s2 = s2 * factor + factor;
    s3 = s3 * factor + factor;
    s4 = s4 * factor + factor;
    s5 = s5 * factor + factor;
    s6 = s6 * factor + factor;
    s7 = s7 * factor + factor;
    s8 = s8 * factor + factor;
    s9 = s9 * factor + factor;
    s10 = s10 * factor + factor;
    s11 = s11 * factor + factor;
  }
  Floats sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;
  benchmark::DoNotOptimize(sum);
}

#if defined(__x86_64__)
#define PHALANX_DOTS __attribute__((target("avx512f,avx512vnni")))

// One step of all chains.
#define PHALANX_DOT(sum) sum = _mm512_dpbusd_epi32(sum, codes, levels)

PHALANX_DOTS void DotBytes() {
  __m512i codes = _mm512_set1_epi32(0x01020304);
  __m512i levels = _mm512_set1_epi32(0x01010101);
  benchmark::DoNotOptimize(codes);
  benchmark::DoNotOptimize(levels);
  __m512i s0 = codes, s1 = codes, s2 = codes, s3 = codes, s4 = codes, s5 = codes;
  __m512i s6 = levels, s7 = levels, s8 = levels, s9 = levels, s10 = levels, s11 = levels;
  for (int i = 0; i < kDotSteps; ++i) {
    PHALANX_DOT(s0);
    PHALANX_DOT(s1);
    PHALANX_DOT(s2);
    PHALANX_DOT(s3);
    PHALANX_DOT(s4);
    PHALANX_DOT(s5);
    PHALANX_DOT(s6);
    PHALANX_DOT(s7);
    PHALANX_DOT(s8);
    PHALANX_DOT(s9);
    PHALANX_DOT(s10);
    PHALANX_DOT(s11);
    // Otherwise equal chains would become one.
    asm volatile("" : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5));
    asm volatile("" : "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9), "+v"(s10), "+v"(s11));
  }
}

#define PHALANX_BF16_DOTS __attribute__((target("avx512f,avx512bf16")))
#define PHALANX_BF16_DOT(sum) sum = _mm512_dpbf16_ps(sum, inputs, weights)

PHALANX_BF16_DOTS void DotBf16() {
  __m512i ones = _mm512_set1_epi32(0x3f803f80);
  benchmark::DoNotOptimize(ones);
  const auto inputs = reinterpret_cast<__m512bh>(ones);
  const auto weights = inputs;
  __m512 s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {};
  __m512 s6 = {}, s7 = {}, s8 = {}, s9 = {}, s10 = {}, s11 = {};
  for (int i = 0; i < kDotSteps; ++i) {
    PHALANX_BF16_DOT(s0);
    PHALANX_BF16_DOT(s1);
    PHALANX_BF16_DOT(s2);
    PHALANX_BF16_DOT(s3);
    PHALANX_BF16_DOT(s4);
    PHALANX_BF16_DOT(s5);
    PHALANX_BF16_DOT(s6);
    PHALANX_BF16_DOT(s7);
    PHALANX_BF16_DOT(s8);
    PHALANX_BF16_DOT(s9);
    PHALANX_BF16_DOT(s10);
    PHALANX_BF16_DOT(s11);
    asm volatile("" : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5));
    asm volatile("" : "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9), "+v"(s10), "+v"(s11));
  }
}

bool HasByteDots() { return CheckCpuLevel(CpuLevel::kAvx512Vnni, ReadCpuFacts()).ok(); }
bool HasBf16Dots() { return HasByteDots() && ReadCpuFacts().avx512_bf16; }

// Four sums, one pair of factors, all tiles full.
template <typename AddDots>
void DotTiles(AddDots add_dots) {
  amx::TileConfig config;
  for (int t = 0; t < 6; ++t) {
    config.rows[t] = amx::kMostTileRows;
    config.row_bytes[t] = amx::kMostRowBytes;
  }
  amx::HardwareTiles tiles;
  tiles.Configure(config);
  for (int i = 0; i < kTileSteps; ++i) {
    add_dots(tiles);
  }
  tiles.Release();
}
void DotByteTiles() {
  DotTiles([](amx::HardwareTiles& tiles) {
    tiles.AddDots<0, 4, 5>();
    tiles.AddDots<1, 4, 5>();
    tiles.AddDots<2, 4, 5>();
    tiles.AddDots<3, 4, 5>();
  });
}
void DotBf16Tiles() {
  DotTiles([](amx::HardwareTiles& tiles) {
    tiles.AddBf16Dots<0, 4, 5>();
    tiles.AddBf16Dots<1, 4, 5>();
    tiles.AddBf16Dots<2, 4, 5>();
    tiles.AddBf16Dots<3, 4, 5>();
  });
}

bool HasTiles() { return CheckCpuLevel(CpuLevel::kAmx, ReadCpuFacts()).ok() && AllowTiles().ok(); }
#else
void DotBytes() {}
bool HasByteDots() { return false; }
void DotBf16() {}
bool HasBf16Dots() { return false; }
void DotByteTiles() {}
void DotBf16Tiles() {}
bool HasTiles() { return false; }
#endif

// The xor uses what is read, or the compiler would drop the loads, and costs less than they do.
PHALANX_VECTORS void Read(const Words* from, int64_t begin, int64_t end) {
  Words a = {}, b = {}, c = {}, d = {};
  for (int64_t i = begin; i + 4 <= end; i += 4) {
    a ^= from[i];
    b ^= from[i + 1];
    c ^= from[i + 2];
    d ^= from[i + 3];
  }
  Words all = a ^ b ^ c ^ d;
  benchmark::DoNotOptimize(all);
}

// Whether MultiplyAdd and Read can run on this machine.
bool HasVectors() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

template <typename Function>
double Seconds(Function function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Ceilings MeasureCeilings(int num_threads) {
  ThreadTeam team(num_threads);
  Ceilings best;
  const auto memory = HostBuffer::Create(kReadBytes);
  if (!memory.ok() || !HasVectors()) return best;
  // Untouched pages would all be the one page of zeros of the system, which stays in the cache.
  std::fill_n(static_cast<char*>((*memory)->data()), kReadBytes, 1);
  const auto* words = static_cast<const Words*>((*memory)->data());
  for (int round = 0; round < kRounds; ++round) {
    const double fma = Seconds([&] { team.Run(num_threads, [](uint32_t) { MultiplyAdd(); }); });
    const double flops = 2.0 * 8 * kChains * kFmaSteps * num_threads;
    best.fma_gflop_per_s = std::max(best.fma_gflop_per_s, flops / fma * 1e-9);
    // The rate of `dots`, which makes so many products on each thread.
    const auto rate = [&](auto dots, double products) {
      const double seconds = Seconds([&] { team.Run(num_threads, [&](uint32_t) { dots(); }); });
      return 2.0 * products * num_threads / seconds * 1e-9;
    };
    constexpr double kVectors = double{kChains} * kDotSteps;
    constexpr double kTilePairs = 4.0 * kTileSteps;
    double& int8 = best.int8_gop_per_s;
    double& bf16 = best.bf16_gflop_per_s;
    if (HasByteDots()) int8 = std::max(int8, rate(DotBytes, 64 * kVectors));
    if (HasBf16Dots()) bf16 = std::max(bf16, rate(DotBf16, 32 * kVectors));
    if (HasTiles()) {
      int8 = std::max(int8, rate(DotByteTiles, kTileProducts * kTilePairs));
      bf16 = std::max(bf16, rate(DotBf16Tiles, kBf16TileProducts * kTilePairs));
    }
    const double read = Seconds([&] {
      team.ParallelFor(kReadBytes / sizeof(Words), 4,
                       [&](int64_t begin, int64_t end) { Read(words, begin, end); });
    });
    best.read_gb_per_s = std::max(best.read_gb_per_s, kReadBytes / read * 1e-9);
  }
  return best;
}

}  // namespace phalanx::kernels
