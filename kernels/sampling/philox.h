// Philox4x32-10, a counter-based random generator: a pure function of a key and a counter.
// Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
#ifndef PHALANX_KERNELS_SAMPLING_PHILOX_H_
#define PHALANX_KERNELS_SAMPLING_PHILOX_H_

#include <array>
#include <cstdint>

namespace phalanx::kernels {

constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_PHILOX_H_
