#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels {

// For processors that are not x86-64.
const KernelSet* Avx2Kernels() { return nullptr; }
const KernelSet* Avx2VnniKernels() { return nullptr; }
const KernelSet* Avx512Kernels() { return nullptr; }
const KernelSet* Avx512Bf16Kernels() { return nullptr; }
const KernelSet* AmxKernels() { return nullptr; }

}  // namespace phalanx::kernels
