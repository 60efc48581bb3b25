#include "kernels/cpu/cpu_facts.h"

#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace phalanx::kernels {
namespace {

constexpr bool HasBit(uint64_t bits, int bit) { return (bits >> bit & 1) != 0; }
constexpr bool HasAll(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }

// Of leaf 1, ECX: whether the operating system uses XSAVE, without which XGETBV does not exist.
constexpr int kOsXsaveBit = 27;

// Of XCR0: the registers of SSE and AVX; those of AVX-512; the tiles and their configuration.
constexpr uint64_t kKeepsAvx = 0x6;
constexpr uint64_t kKeepsAvx512 = kKeepsAvx | 0xe0;
constexpr uint64_t kKeepsTiles = 0x60000;

// 0, or the system's error number.
int RequestTiles() {
#if defined(__x86_64__) && defined(__linux__)
  // From <asm/prctl.h> of Linux 5.16 and <asm/fpu/types.h>, which older headers lack.
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILE_DATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? 0 : errno;
#else
  return ENOSYS;
#endif
}

}  // namespace

CpuFacts FactsOf(const CpuRegisters& registers) {
  CpuFacts facts;
  if (HasAll(registers.xcr0, kKeepsAvx)) {
    facts.fma = HasBit(registers.leaf1_ecx, 12);
    facts.f16c = HasBit(registers.leaf1_ecx, 29);
    facts.avx2 = HasBit(registers.leaf7_ebx, 5);
    facts.avx_vnni = HasBit(registers.leaf7_1_eax, 4);
  }
  if (HasAll(registers.xcr0, kKeepsAvx512)) {
    facts.avx512f = HasBit(registers.leaf7_ebx, 16);
    facts.avx512dq = HasBit(registers.leaf7_ebx, 17);
    facts.avx512bw = HasBit(registers.leaf7_ebx, 30);
    facts.avx512vl = HasBit(registers.leaf7_ebx, 31);
    facts.avx512_vnni = HasBit(registers.leaf7_ecx, 11);
    facts.avx512_bf16 = HasBit(registers.leaf7_1_eax, 5);
  }
  if (HasAll(registers.xcr0, kKeepsTiles)) {
    facts.amx_bf16 = HasBit(registers.leaf7_edx, 22);
    facts.amx_tile = HasBit(registers.leaf7_edx, 24);
    facts.amx_int8 = HasBit(registers.leaf7_edx, 25);
  }
  return facts;
}

CpuFacts ReadCpuFacts() {
  CpuRegisters registers;
#if defined(__x86_64__)
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) registers.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    registers.leaf7_ebx = ebx;
    registers.leaf7_ecx = ecx;
    registers.leaf7_edx = edx;
    // EAX is the last leaf of this kind.
    if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) {
      registers.leaf7_1_eax = eax;
    }
  }
  if (HasBit(registers.leaf1_ecx, kOsXsaveBit)) {
    uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    registers.xcr0 = uint64_t{high} << 32 | low;
  }
#endif
  return FactsOf(registers);
}

absl::Status AllowTiles() {
  static const int error = RequestTiles();
  if (error == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the system does not allow AMX's tiles: ",
                                                    std::generic_category().message(error)));
}

}  // namespace phalanx::kernels
