// Writes GGUF files for tests: well-formed by default, broken where a test asks for it.
#ifndef PHALANX_MODEL_TESTING_GGUF_WRITER_H_
#define PHALANX_MODEL_TESTING_GGUF_WRITER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/gguf.h"

namespace phalanx {

class GgufWriter {
 public:
  // --- Metadata, in call order. ---

  void AddBool(absl::string_view key, bool value) { AddPair(key, 7, Bytes<uint8_t>(value)); }
  void AddU32(absl::string_view key, uint32_t value) { AddPair(key, 4, Bytes(value)); }
  void AddU64(absl::string_view key, uint64_t value) { AddPair(key, 10, Bytes(value)); }
  void AddI32(absl::string_view key, int32_t value) { AddPair(key, 5, Bytes(value)); }
  void AddF32(absl::string_view key, float value) { AddPair(key, 6, Bytes(value)); }
  void AddString(absl::string_view key, absl::string_view value) { AddPair(key, 8, String(value)); }
  void AddStrings(absl::string_view key, absl::Span<const std::string> values);
  void AddI32s(absl::string_view key, absl::Span<const int32_t> values);
  // A pair of any value type with the bytes of its value.
  void AddPair(absl::string_view key, uint32_t type, absl::string_view value);

  // --- Tensors ---

  // Places `data` at the next aligned offset. `dimensions` as in the file: fastest first.
  void AddTensor(absl::string_view name, TensorType type, absl::Span<const uint64_t> dimensions,
                 absl::string_view data);
  // An info that points anywhere, without data.
  void AddTensorInfo(absl::string_view name, uint32_t type, absl::Span<const uint64_t> dimensions,
                     uint64_t offset);

  // --- The file ---

  uint32_t version = 3;
  // Must agree with the key general.alignment, if the test adds one.
  uint64_t alignment = 32;

  // The last tensor is not padded: no byte can be left out.
  std::string Finish() const;
  // Finishes into `name` in the test's temporary folder and returns the path.
  std::string WriteToTemp(absl::string_view name) const;

  // Encodings, for AddPair.
  template <typename T>
  static std::string Bytes(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string String(absl::string_view text);

 private:
  uint64_t num_pairs_ = 0;
  uint64_t num_tensors_ = 0;
  std::string pairs_;
  std::string infos_;
  std::string data_;
};

// Writes `bytes` to the file `name` in the test's temporary folder and returns the path.
std::string WriteTempFile(absl::string_view name, absl::string_view bytes);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_GGUF_WRITER_H_
