// Writes Hugging Face folders for tests: well-formed by default, broken where a test asks for it.
#ifndef PHALANX_MODEL_TESTING_HF_FOLDER_H_
#define PHALANX_MODEL_TESTING_HF_FOLDER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

class SafetensorsWriter {
 public:
  // Places `data` behind what is there. `shape` as in the file: slowest first. `dtype` is "F32".
  void AddTensor(absl::string_view name, absl::string_view dtype, absl::Span<const uint64_t> shape,
                 absl::string_view data);
  void AddF32(absl::string_view name, absl::Span<const uint64_t> shape,
              absl::Span<const float> values);

  // Padded with spaces to a multiple of 8, as transformers does.
  std::string Finish() const;

  // A file of any header and data.
  static std::string File(absl::string_view header, absl::string_view data);

 private:
  std::string entries_ = R"("__metadata__":{"format":"pt"})";
  std::string data_;
};

// Writes files by their path into the folder `name` in the test's temporary folder, empties it
// before, and returns its path.
std::string WriteTempFolder(absl::string_view name,
                            const std::map<std::string, std::string>& files);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_HF_FOLDER_H_
