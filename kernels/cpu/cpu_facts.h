// What this machine's processor and operating system have for the CPU backend's kernels.
#ifndef PHALANX_KERNELS_CPU_CPU_FACTS_H_
#define PHALANX_KERNELS_CPU_CPU_FACTS_H_

#include <cstdint>

#include "absl/status/status.h"

namespace phalanx::kernels {

// Instructions of x86-64 that can be used: the processor has them, and the operating system keeps
// the registers that they work in. All false for other processors.
struct CpuFacts {
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
  bool avx_vnni = false;
  bool avx512f = false;
  bool avx512bw = false;
  bool avx512dq = false;
  bool avx512vl = false;
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_tile = false;  // Linux must also be asked for tiles: AllowTiles.
  bool amx_int8 = false;
  bool amx_bf16 = false;
};

// The registers that CpuFacts come from. Leaves are those of CPUID, zero where the processor has no
// such leaf; xcr0 is what XGETBV says that the operating system keeps, zero if it does not use
// that.
struct CpuRegisters {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t leaf7_ecx = 0;
  uint32_t leaf7_edx = 0;
  uint32_t leaf7_1_eax = 0;
  uint64_t xcr0 = 0;
};

CpuFacts FactsOf(const CpuRegisters& registers);

// Of this machine.
CpuFacts ReadCpuFacts();

// Asks Linux to let this process, with all its threads, use AMX's tiles. It is asked once; later
// calls give the same answer. Any thread may call it. FAILED_PRECONDITION, with the system's
// reason, if it refuses: kernels before 5.16 do, and so may a sandbox.
absl::Status AllowTiles();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_CPU_FACTS_H_
