// What the AVX-512 kernels share; see avx2.h for why functions name their instructions.
#ifndef PHALANX_KERNELS_CPU_AVX512_H_
#define PHALANX_KERNELS_CPU_AVX512_H_

#include "kernels/cpu/intrinsics.h"

#define PHALANX_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define PHALANX_AVX512_INLINE PHALANX_AVX512 __attribute__((always_inline)) inline

// The same with AVX512_BF16, which not every machine of the level avx512_vnni has.
#define PHALANX_AVX512_BF16                                                       \
  __attribute__((                                                                 \
      target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma," \
             "f16c")))
#define PHALANX_AVX512_BF16_INLINE PHALANX_AVX512_BF16 __attribute__((always_inline)) inline

#endif  // PHALANX_KERNELS_CPU_AVX512_H_
