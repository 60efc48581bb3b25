// The compiler's functions for vector instructions, without its warnings about them.
#ifndef PHALANX_KERNELS_CPU_INTRINSICS_H_
#define PHALANX_KERNELS_CPU_INTRINSICS_H_

// GCC 12 takes the deliberately undefined vectors of its own functions for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#endif  // PHALANX_KERNELS_CPU_INTRINSICS_H_
