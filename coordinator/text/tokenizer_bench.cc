// The part of tokenizer_bench.py that measures our tokenizer: `tokenizer_bench TOKENIZER TEXTS`.
//
// TOKENIZER is a GGUF file or a tokenizer.json, TEXTS a JSON list of strings. For each line on
// standard input, encodes each text, then decodes each text's tokens one at a time as they would
// stream. Then writes a line of three numbers: seconds of processor time for encoding, tokens,
// seconds for decoding.
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/text/answer/detokenizer.h"
#include "coordinator/text/testing/tokenizer_file.h"
#include "coordinator/text/tokenizer/tokenizer.h"

namespace phalanx {
namespace {

// Processor time of this process, which runs one thread. The time of other programs does not count.
double ProcessorSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

size_t Decode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(&tokenizer.assets(), Detokenizer::ControlTokens::kHide);
  size_t bytes = 0;
  for (const int32_t id : ids) bytes += detokenizer.Push({&id, 1}).size();
  return bytes + detokenizer.Flush().size();
}

int Run(const std::string& path, const char* texts_path) {
  auto assets = ReadTokenizerFile(path);
  if (!assets.ok()) {
    std::cerr << "tokenizer_bench: " << assets.status() << "\n";
    return 1;
  }
  const std::unique_ptr<Tokenizer> tokenizer = *Tokenizer::Create(*std::move(assets));
  std::ifstream file(texts_path);
  const auto texts = nlohmann::json::parse(file).get<std::vector<std::string>>();
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<std::vector<int32_t>> ids(texts.size());
    double begin = ProcessorSeconds();
    for (size_t i = 0; i < texts.size(); ++i) ids[i] = *tokenizer->Encode(texts[i]);
    const double encoding = ProcessorSeconds() - begin;
    size_t tokens = 0;
    for (const auto& of_text : ids) tokens += of_text.size();
    begin = ProcessorSeconds();
    size_t bytes = 0;
    for (const auto& of_text : ids) bytes += Decode(*tokenizer, of_text);
    const double decoding = ProcessorSeconds() - begin;
    if (bytes == 0) return 1;
    std::cout << encoding << " " << tokens << " " << decoding << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: tokenizer_bench TOKENIZER TEXTS\n";
    return 2;
  }
  return phalanx::Run(argv[1], argv[2]);
}
