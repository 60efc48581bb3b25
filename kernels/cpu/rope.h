// Rotary position embedding of one token and of one head; the backend calls these on its threads.
#ifndef PHALANX_KERNELS_CPU_ROPE_H_
#define PHALANX_KERNELS_CPU_ROPE_H_

#include <cstdint>

namespace phalanx::kernels {

// Fills cos_sin, [2 * half], for one position; see Backend::RopeAngles.
void FillRopeAngles(int32_t position, const float* inv_freq, int64_t half, float factor,
                    float* cos_sin);

// Turns dims (j, j + half) of one head by angle j, in place.
void RotateHead(const float* cos_sin, int64_t half, float* head);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_ROPE_H_
