// Makes and reads the lines of tests/golden/tokenizer_lines, for tests.
#ifndef PHALANX_COORDINATOR_TEXT_TESTING_GOLDEN_LINES_H_
#define PHALANX_COORDINATOR_TEXT_TESTING_GOLDEN_LINES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

// Returns the lines, without their ends, of a text file packed by gzip. Dies if there is no such
// file.
std::vector<std::string> ReadGzipLines(const std::string& path);

// FNV-1a over 32-bit words in place of bytes.
class WordHash {
 public:
  void Add(uint32_t word) { hash_ = (hash_ ^ word) * 1099511628211u; }
  // The hash in hexadecimal.
  std::string ToString() const;

 private:
  uint64_t hash_ = 14695981039346656037u;
};

// The number of ids and their hash, as the golden files have them for a line made by rule.
std::string DescribeIds(absl::Span<const int32_t> ids);

// Makes the same lines as by_rule() of tests/golden/tokenizer_corpus.py.
void ForEachRuleLine(absl::FunctionRef<void(absl::string_view)> line);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TESTING_GOLDEN_LINES_H_
