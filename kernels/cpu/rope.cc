#include "kernels/cpu/rope.h"

#include <cmath>

namespace phalanx::kernels {

void FillRopeAngles(int32_t position, const float* inv_freq, int64_t half, float factor,
                    float* cos_sin) {
  // The angle is rounded to float32 before its cosine is taken, as transformers does it. At large
  // positions a more exact angle would be another one than the model was trained with.
  for (int64_t j = 0; j < half; ++j) {
    const float angle = static_cast<float>(position) * inv_freq[j];
    cos_sin[j] = std::cos(angle) * factor;
    cos_sin[half + j] = std::sin(angle) * factor;
  }
}

void RotateHead(const float* cos_sin, int64_t half, float* head) {
  for (int64_t j = 0; j < half; ++j) {
    const float a = head[j];
    const float b = head[half + j];
    head[j] = a * cos_sin[j] - b * cos_sin[half + j];
    head[half + j] = b * cos_sin[j] + a * cos_sin[half + j];
  }
}

}  // namespace phalanx::kernels
