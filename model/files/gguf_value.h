// The values of a GGUF file's metadata; a detail of GgufFile.
#ifndef PHALANX_MODEL_FILES_GGUF_VALUE_H_
#define PHALANX_MODEL_FILES_GGUF_VALUE_H_

#include <cstdint>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/files/gguf_reader.h"

namespace phalanx {

// Integers of 2^63 and more are unsigned, all others are signed; arrays of bools hold 0 and 1.
// Views point into the bytes of the reader.
using GgufValue =
    std::variant<bool, int64_t, uint64_t, double, absl::string_view, std::vector<absl::string_view>,
                 std::vector<int64_t>, std::vector<double>>;

// Reads the type at the reader's position and the value behind it. UNIMPLEMENTED for arrays of
// arrays, DATA_LOSS for all else that is none: an unknown type, a bool of another value than 0 and
// 1, an integer of 2^63 or more in an array, what goes past the end of the file.
absl::StatusOr<GgufValue> ReadGgufValue(GgufReader& reader);

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_GGUF_VALUE_H_
