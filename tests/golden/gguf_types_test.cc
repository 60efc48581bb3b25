// Every GGUF type against the values that the gguf package computes, to the bit.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "kernels/dequantize.h"
#include "kernels/dtype.h"
#include "nlohmann/json.hpp"

namespace phalanx::kernels {
namespace {

std::string Unhex(const nlohmann::json& hex) {
  return absl::HexStringToBytes(hex.get_ref<const std::string&>());
}

class GgufTypesTest : public testing::TestWithParam<DType> {};

TEST_P(GgufTypesTest, DequantizesToTheSameBits) {
  std::ifstream file(std::getenv("GGUF_TYPES_JSON"));
  const auto golden = nlohmann::json::parse(file).at("types").at(DTypeName(GetParam()));
  const std::string blocks = Unhex(golden.at("blocks"));
  const std::string expected = Unhex(golden.at("values"));
  const size_t elements = blocks.size() / BlockBytes(GetParam()) * BlockElements(GetParam());
  ASSERT_GE(elements, 32u);
  ASSERT_EQ(expected.size(), elements * sizeof(float));

  std::vector<float> values(elements);
  Dequantize(GetParam(), reinterpret_cast<const std::byte*>(blocks.data()),
             static_cast<int64_t>(elements), values.data());
  for (size_t i = 0; i < elements; ++i) {
    float value;
    std::memcpy(&value, expected.data() + i * sizeof(value), sizeof(value));
    ASSERT_EQ(std::memcmp(&values[i], &value, sizeof(value)), 0)
        << "element " << i << ": " << values[i] << " in place of " << value;
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, GgufTypesTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace phalanx::kernels
