// What the machine can do at best, to compare benchmarks with.
#ifndef PHALANX_KERNELS_BENCH_CEILINGS_H_
#define PHALANX_KERNELS_BENCH_CEILINGS_H_

namespace phalanx::kernels {

struct Ceilings {
  // float32 multiply-adds on 256-bit registers, two operations each.
  double fma_gflop_per_s = 0.0;
  // Dot products of bytes, two operations for each product: by AMX's tiles, where this process may
  // use them, or by AVX-512 VNNI; 0 without both.
  double int8_gop_per_s = 0.0;
  // Products of bfloat16, two operations each: by AMX's tiles or by AVX512_BF16; 0 without both.
  double bf16_gflop_per_s = 0.0;
  // Reads of an array far larger than the caches.
  double read_gb_per_s = 0.0;
};

// The best of several rounds on `num_threads` threads; takes about a second. Zeros on an x86-64
// machine without AVX2 and FMA.
Ceilings MeasureCeilings(int num_threads);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_CEILINGS_H_
