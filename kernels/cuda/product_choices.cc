#include "kernels/cuda/product_choices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr absl::string_view kFirstLine = "phalanx products 1";
constexpr absl::string_view kSumName = "sum ";
// Thousands of choices; more is no file of ours.
constexpr size_t kMostBytes = size_t{4} << 20;
constexpr int kFields = 7;
// Written in place of an algorithm.
constexpr absl::string_view kNone = "none";

// FNV-1a with 64 bits. It finds damage, not malice.
uint64_t Sum(absl::string_view text) {
  uint64_t sum = 0xcbf29ce484222325;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return sum;
}

std::string Hex(uint64_t value) { return absl::StrCat(absl::Hex(value, absl::kZeroPad16)); }

std::string Header(const ProductDevice& device) {
  std::string name = device.name;
  for (char& c : name) {
    if (c == '\n') c = ' ';
  }
  return absl::StrCat(kFirstLine, "\ndevice ", name, "\ncapability ", device.major, ".",
                      device.minor, "\nlibrary ", device.library_version, "\n");
}

std::optional<uint64_t> ParseHex(absl::string_view text) {
  uint64_t value = 0;
  if (text.size() != 16 || !absl::SimpleHexAtoi(text, &value)) return std::nullopt;
  return value;
}

std::optional<DType> ParseType(absl::string_view name) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (name == DTypeName(dtype)) return dtype;
  }
  return std::nullopt;
}

// Whether `text` is an algorithm or kNone.
bool ParseAlgo(absl::string_view text, std::optional<CublasLtAlgo>* algo) {
  if (text == kNone) return true;
  CublasLtAlgo parsed;
  if (text.size() != 16 * std::size(parsed.data)) return false;
  for (size_t i = 0; i < std::size(parsed.data); ++i) {
    const std::optional<uint64_t> word = ParseHex(text.substr(16 * i, 16));
    if (!word.has_value()) return false;
    parsed.data[i] = *word;
  }
  *algo = parsed;
  return true;
}

bool ParseLine(absl::string_view line, ProductChoices* choices) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  if (fields.size() != kFields) return false;
  ProductShape shape;
  const std::optional<DType> in_type = ParseType(fields[3]);
  const std::optional<DType> out_type = ParseType(fields[4]);
  std::optional<CublasLtAlgo> algo;
  const bool good = absl::SimpleAtoi(fields[0], &shape.outputs) &&
                    absl::SimpleAtoi(fields[1], &shape.inputs) &&
                    absl::SimpleAtoi(fields[2], &shape.most_rows) && in_type.has_value() &&
                    out_type.has_value() && (fields[5] == "adds" || fields[5] == "sets") &&
                    ParseAlgo(fields[6], &algo);
  if (!good) return false;
  shape.in_type = *in_type;
  shape.out_type = *out_type;
  shape.adds = fields[5] == "adds";
  (*choices)[shape] = algo;
  return true;
}

std::string ErrnoText(int error) { return std::generic_category().message(error); }

std::string PathOf(const std::string& folder, const ProductDevice& device) {
  return absl::StrCat(folder, "/", ChoicesFileName(device));
}

// A file that is closed when the object goes.
class OpenFile {
 public:
  OpenFile(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

bool WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

std::string ProductText(const ProductShape& shape) {
  return absl::StrCat(shape.outputs, " x ", shape.inputs, ", ", shape.most_rows, " rows, ",
                      DTypeName(shape.in_type), " to ", DTypeName(shape.out_type),
                      shape.adds ? ", added" : "");
}

std::string ChoicesFileName(const ProductDevice& device) {
  return absl::StrCat("cublaslt-", Hex(Sum(Header(device))), ".txt");
}

std::string FormatChoices(const ProductDevice& device, const ProductChoices& choices) {
  std::string text = Header(device);
  for (const auto& [shape, algo] : choices) {
    absl::StrAppend(&text, shape.outputs, " ", shape.inputs, " ", shape.most_rows, " ",
                    DTypeName(shape.in_type), " ", DTypeName(shape.out_type), " ",
                    shape.adds ? "adds" : "sets", " ");
    if (algo.has_value()) {
      for (const uint64_t word : algo->data) absl::StrAppend(&text, Hex(word));
    } else {
      absl::StrAppend(&text, kNone);
    }
    absl::StrAppend(&text, "\n");
  }
  absl::StrAppend(&text, kSumName, Hex(Sum(text)), "\n");
  return text;
}

absl::StatusOr<ProductChoices> ParseChoices(const ProductDevice& device, absl::string_view text) {
  const std::string header = Header(device);
  absl::string_view lines = text;
  if (!absl::ConsumePrefix(&lines, header)) {
    return absl::InvalidArgumentError(
        "it is not of this device and this version of the library, or is no such file");
  }
  // The last line, of a known length.
  const size_t sum_bytes = kSumName.size() + 16 + 1;
  if (lines.size() < sum_bytes) return absl::InvalidArgumentError("its end is missing");
  const size_t sum_at = text.size() - sum_bytes;
  const absl::string_view sum = text.substr(sum_at + kSumName.size(), 16);
  if (text.substr(sum_at, kSumName.size()) != kSumName || text.back() != '\n' ||
      ParseHex(sum) != Sum(text.substr(0, sum_at))) {
    return absl::InvalidArgumentError("it is damaged: the sum over it is another");
  }
  lines.remove_suffix(sum_bytes);
  ProductChoices choices;
  for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    if (!ParseLine(line, &choices)) {
      return absl::InvalidArgumentError("a line is not what it should be");
    }
  }
  return choices;
}

absl::StatusOr<ProductChoices> ReadChoices(const std::string& folder, const ProductDevice& device) {
  const OpenFile file(PathOf(folder, device), O_RDONLY);
  if (file.fd() < 0 && errno == ENOENT) return absl::NotFoundError("there is no file yet");
  if (file.fd() < 0) return absl::UnavailableError(ErrnoText(errno));
  std::string text;
  std::array<char, 1 << 14> piece;
  while (true) {
    const ssize_t count = read(file.fd(), piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::UnavailableError(ErrnoText(errno));
    if (count == 0) return ParseChoices(device, text);
    text.append(piece.data(), static_cast<size_t>(count));
    if (text.size() > kMostBytes) return absl::InvalidArgumentError("it is too long");
  }
}

absl::Status WriteChoices(const std::string& folder, const ProductDevice& device,
                          const ProductChoices& choices) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(error.message());
  // What another rank or another model has found stays.
  ProductChoices all = choices;
  if (absl::StatusOr<ProductChoices> present = ReadChoices(folder, device); present.ok()) {
    all.merge(*std::move(present));
  }
  const std::string path = PathOf(folder, device);
  const std::string new_path = absl::StrCat(path, ".", getpid());
  {
    const OpenFile file(new_path, O_WRONLY | O_CREAT | O_TRUNC);
    if (file.fd() < 0) return absl::UnavailableError(ErrnoText(errno));
    if (!WriteAll(file.fd(), FormatChoices(device, all))) {
      absl::Status status = absl::UnavailableError(ErrnoText(errno));
      unlink(new_path.c_str());
      return status;
    }
  }
  if (rename(new_path.c_str(), path.c_str()) != 0) {
    absl::Status status = absl::UnavailableError(ErrnoText(errno));
    unlink(new_path.c_str());
    return status;
  }
  return absl::OkStatus();
}

}  // namespace phalanx::kernels::cuda
