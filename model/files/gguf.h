// Reads GGUF files (versions 2 and 3, little-endian) by memory map.
//
// Format: ggml-org/ggml, docs/gguf.md. The file may come from anybody: Open checks every count,
// length, offset and size against the file before it allocates or points anywhere.
#ifndef PHALANX_MODEL_FILES_GGUF_H_
#define PHALANX_MODEL_FILES_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/gguf_parser.h"
#include "model/files/mapped_file.h"
#include "model/files/tensor.h"

namespace phalanx {

// Thread-compatible; immutable after Open. Views stay valid as long as the object.
class GgufFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE if the file cannot be read; DATA_LOSS if it is not
  // a GGUF file, is truncated or breaks a rule of the format; UNIMPLEMENTED for what the format
  // allows but is not read here: nested arrays, tensors of more than two dimensions, tensor types
  // of unknown size. Messages start with the path and name the key or tensor. The file must not
  // shrink afterwards.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::string& path() const { return path_; }

  // Has, Keys and the methods that begin with Get are about the metadata. The latter return
  // NOT_FOUND if the key is not there, and DATA_LOSS if its value has another type.
  bool Has(absl::string_view key) const;
  // Ascending.
  std::vector<absl::string_view> Keys() const;
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;   // any integer type that fits
  absl::StatusOr<double> GetFloat(absl::string_view key) const;  // f32 or f64
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<absl::string_view> GetString(absl::string_view key) const;
  absl::StatusOr<absl::Span<const absl::string_view>> GetStrings(absl::string_view key) const;
  // Any integer type, and bool as 0 and 1.
  absl::StatusOr<absl::Span<const int64_t>> GetInts(absl::string_view key) const;
  absl::StatusOr<absl::Span<const double>> GetFloats(absl::string_view key) const;

  // The tensors, in file order.
  absl::Span<const TensorView> tensors() const { return contents_.tensors; }
  // The tensor of that name; null if there is none.
  const TensorView* FindTensor(absl::string_view name) const;

  // The bytes before the tensor data: the header, metadata and tensor infos.
  absl::Span<const std::byte> header() const { return contents_.header; }
  // The bytes after header().
  absl::Span<const std::byte> data() const {
    return map_->bytes().subspan(contents_.header.size());
  }
  // Size of the whole file.
  size_t file_bytes() const { return map_->bytes().size(); }

  // Tells the kernel that this process does not need the pages of the mapping any more: to be
  // called when weights have been copied out. Views stay valid.
  void DropPages() const { map_->DropPages(); }

 private:
  GgufFile(std::string path, std::unique_ptr<MappedFile> map, GgufContents contents)
      : path_(std::move(path)), map_(std::move(map)), contents_(std::move(contents)) {}
  // The value of `key` as a T; `wanted` names the type in the error.
  template <typename T>
  absl::StatusOr<const T*> Find(absl::string_view key, absl::string_view wanted) const;

  const std::string path_;
  const std::unique_ptr<MappedFile> map_;
  const GgufContents contents_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_GGUF_H_
