// Runs a fuzz target once on each of the files given, or in the folders given; libFuzzer has a main
// function of its own.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Not every target has one.
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

std::vector<std::filesystem::path> FilesOf(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (!entry.is_directory()) files.push_back(entry.path());
  }
  return files;
}

bool Replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.good() && !file.eof()) {
    std::cerr << path.string() << ": cannot be read\n";
    return false;
  }
  // Flushed: the last line names the input that ended the process.
  std::cerr << path.filename().string() << ": " << bytes.size() << " bytes" << std::endl;
  // A copy that ends where the input ends, so that AddressSanitizer sees a read past it.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  int num_files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const std::filesystem::path& path : FilesOf(argv[i])) {
      if (!Replay(path)) return EXIT_FAILURE;
      ++num_files;
    }
  }
  if (num_files == 0) {
    std::cerr << "no input to replay\n";
    return EXIT_FAILURE;
  }
  std::cerr << num_files << " inputs\n";
  return EXIT_SUCCESS;
}
