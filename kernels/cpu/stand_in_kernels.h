// For tests: the products of bytes of the levels avx2_vnni and amx, and those of bfloat16 of amx,
// on machines that lack these, with other instructions that do the same in the place of those that
// are missing. Everything else, how weights and inputs are walked through, unpacked and scaled, is
// the code of those levels.
#ifndef PHALANX_KERNELS_CPU_STAND_IN_KERNELS_H_
#define PHALANX_KERNELS_CPU_STAND_IN_KERNELS_H_

#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels {

// All are null in builds for other processors than x86-64.

// As Avx2VnniKernels, with instructions of AVX2 that do what its dot product does. To be run only
// where CheckCpuLevel says OK for kAvx2.
const KernelSet* WidenedVnniKernels();

// The others are to be run only where CheckCpuLevel says OK for kAvx512Vnni, and the products of
// bfloat16 of EmulatedAmxKernels only where there is AVX512_BF16 too.

// As Avx2VnniKernels, with AVX-512's encoding of the dot product.
const KernelSet* EvexVnniKernels();

// As AmxKernels, with emulated tiles.
const KernelSet* EmulatedAmxKernels();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_STAND_IN_KERNELS_H_
