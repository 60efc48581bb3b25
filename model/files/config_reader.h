// Reads one object of a config.json key by key, and can tell in the end which keys nobody has asked
// for. Thread-compatible. A key whose value is null counts as absent. Errors are DATA_LOSS and name
// the file and the key, unless it says otherwise.
#ifndef PHALANX_MODEL_FILES_CONFIG_READER_H_
#define PHALANX_MODEL_FILES_CONFIG_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/number_text.h"
#include "model/files/json.h"

namespace phalanx {

// Thread-compatible. A key whose value is null counts as absent. Errors are DATA_LOSS and name the
// file and the key, unless it says otherwise.
class ConfigReader {
 public:
  // Both are lent. `prefix` is put before keys in messages: "rope_scaling.".
  ConfigReader(const JsonValue& object, absl::string_view path, absl::string_view prefix = "")
      : object_(object), path_(path), prefix_(prefix) {}

  // The value of a key; null if it is absent. The key then counts as asked for, as it does after
  // each of the methods that read one.
  const JsonValue* Find(absl::string_view key);

  // A number in [1, kMaxModelDimension].
  absl::StatusOr<int> Dimension(absl::string_view key);
  absl::StatusOr<std::optional<int>> OptionalDimension(absl::string_view key);
  absl::StatusOr<double> Number(absl::string_view key);
  absl::StatusOr<std::optional<double>> OptionalNumber(absl::string_view key);
  absl::StatusOr<bool> BoolOr(absl::string_view key, bool otherwise);
  absl::StatusOr<std::string> StringOr(absl::string_view key, absl::string_view otherwise);
  absl::StatusOr<std::vector<float>> Numbers(absl::string_view key);

  bool WasAsked(absl::string_view key) const { return asked_.contains(key); }
  // UNIMPLEMENTED, naming the first key that nobody has asked for and that has another value than
  // null.
  absl::Status RefuseOthers() const;

  const std::string& path() const { return path_; }
  std::string Name(absl::string_view key) const { return absl::StrCat(prefix_, key); }
  template <typename... What>
  absl::Status Impossible(absl::string_view key, const What&... what) const {
    return absl::DataLossError(absl::StrCat(path_, ": ", prefix_, key, ": ", Readable(what)...));
  }
  // An UNIMPLEMENTED error about the value of a key.
  template <typename... What>
  absl::Status Unsupported(absl::string_view key, const What&... what) const {
    return absl::UnimplementedError(
        absl::StrCat(path_, ": ", prefix_, key, ": ", Readable(what)...));
  }

 private:
  const JsonValue& object_;
  const std::string path_;
  const std::string prefix_;
  absl::flat_hash_set<std::string> asked_;
};

// Reads a token id, a list of them, or null. Ascending, without duplicates. DATA_LOSS naming path
// and key if `value` is something else.
absl::StatusOr<std::vector<int32_t>> ReadTokenIds(const JsonValue& value, absl::string_view path,
                                                  absl::string_view key);

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_CONFIG_READER_H_
