// Tells whether two processes serve the same network with the same tokenizer.
#ifndef PHALANX_MODEL_CHECKPOINT_FINGERPRINT_H_
#define PHALANX_MODEL_CHECKPOINT_FINGERPRINT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace phalanx {

// 16 hexadecimal digits over the headers of a model's files (metadata, tensor names, types, shapes,
// offsets), their sizes, and all of the small files. Not cryptographic: it catches a wrong file,
// not an attack. It does not cover the weights, which a coordinator never reads. Workers read them
// and make a digest (model/checkpoint/weights_digest.h); a coordinator makes sure that all groups
// to which it routes have the same one.
class Fingerprint {
 public:
  // To be called in an order that depends on the model alone. For a small file, `header` is all of
  // it.
  void AddFile(absl::Span<const std::byte> header, uint64_t file_bytes);

  std::string Hex() const;

 private:
  // FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/.
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_CHECKPOINT_FINGERPRINT_H_
