// Tells whether two processes serve the same model.
#ifndef PHALANX_MODEL_FINGERPRINT_H_
#define PHALANX_MODEL_FINGERPRINT_H_

#include <string>

#include "model/gguf.h"

namespace phalanx {

// 16 hexadecimal digits over the file's header (metadata, tensor names, types, offsets) and its
// size. Not cryptographic, and does not read the weights: it catches a wrong file, not an attack.
std::string ModelFingerprint(const GgufFile& file);

}  // namespace phalanx

#endif  // PHALANX_MODEL_FINGERPRINT_H_
