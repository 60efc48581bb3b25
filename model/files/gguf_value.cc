#include "model/files/gguf_value.h"

#include <cstddef>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

enum ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

template <typename T, typename Element>
absl::StatusOr<GgufValue> ReadNumbers(GgufReader& reader, uint64_t count) {
  if (count > reader.bytes_left() / sizeof(T)) {
    return reader.Broken(
        absl::StrCat("an array of ", count, " values, ", reader.bytes_left(), " bytes are left"));
  }
  std::vector<Element> values(count);
  for (Element& value : values) {
    T number{};
    RETURN_IF_ERROR(reader.Read(number));
    if constexpr (std::is_integral_v<T>) {
      if (!std::in_range<int64_t>(number)) return reader.Broken("an array element of 2^63 or more");
    }
    // The plus makes an int of a uint8_t or int8_t, which here are numbers and not characters.
    value = static_cast<Element>(+number);
  }
  return GgufValue(std::move(values));
}

absl::StatusOr<GgufValue> ReadStrings(GgufReader& reader, uint64_t count) {
  if (count > reader.bytes_left() / sizeof(uint64_t)) {
    return reader.Broken(
        absl::StrCat("an array of ", count, " strings, ", reader.bytes_left(), " bytes are left"));
  }
  // Each string takes at least the 8 bytes of its length, so `count` is bounded by the file.
  std::vector<absl::string_view> values(count);
  for (absl::string_view& value : values) RETURN_IF_ERROR(reader.ReadString(value));
  return GgufValue(std::move(values));
}

absl::StatusOr<GgufValue> ReadArray(GgufReader& reader) {
  uint32_t type = 0;
  uint64_t count = 0;
  RETURN_IF_ERROR(reader.Read(type));
  RETURN_IF_ERROR(reader.Read(count));
  switch (type) {
    case kU8:
      return ReadNumbers<uint8_t, int64_t>(reader, count);
    case kI8:
      return ReadNumbers<int8_t, int64_t>(reader, count);
    case kU16:
      return ReadNumbers<uint16_t, int64_t>(reader, count);
    case kI16:
      return ReadNumbers<int16_t, int64_t>(reader, count);
    case kU32:
      return ReadNumbers<uint32_t, int64_t>(reader, count);
    case kI32:
      return ReadNumbers<int32_t, int64_t>(reader, count);
    case kU64:
      return ReadNumbers<uint64_t, int64_t>(reader, count);
    case kI64:
      return ReadNumbers<int64_t, int64_t>(reader, count);
    case kF32:
      return ReadNumbers<float, double>(reader, count);
    case kF64:
      return ReadNumbers<double, double>(reader, count);
    case kBool: {
      ASSIGN_OR_RETURN(GgufValue flags, ReadNumbers<uint8_t, int64_t>(reader, count));
      for (int64_t flag : std::get<std::vector<int64_t>>(flags)) {
        if (flag > 1) return reader.Broken(absl::StrCat("a bool of value ", flag));
      }
      return flags;
    }
    case kString:
      return ReadStrings(reader, count);
    case kArray:
      return reader.Unsupported("an array of arrays");
    default:
      return reader.Broken(absl::StrCat("array of unknown type ", type));
  }
}

absl::StatusOr<GgufValue> ReadScalar(GgufReader& reader, uint32_t type) {
  const auto integer = [&reader](auto number) -> absl::StatusOr<GgufValue> {
    RETURN_IF_ERROR(reader.Read(number));
    if (std::in_range<int64_t>(number)) return GgufValue(static_cast<int64_t>(number));
    return GgufValue(static_cast<uint64_t>(number));
  };
  const auto real = [&reader](auto number) -> absl::StatusOr<GgufValue> {
    RETURN_IF_ERROR(reader.Read(number));
    return GgufValue(static_cast<double>(number));
  };
  switch (type) {
    case kU8:
      return integer(uint8_t{});
    case kI8:
      return integer(int8_t{});
    case kU16:
      return integer(uint16_t{});
    case kI16:
      return integer(int16_t{});
    case kU32:
      return integer(uint32_t{});
    case kI32:
      return integer(int32_t{});
    case kU64:
      return integer(uint64_t{});
    case kI64:
      return integer(int64_t{});
    case kF32:
      return real(float{});
    case kF64:
      return real(double{});
    case kBool: {
      uint8_t flag = 0;
      RETURN_IF_ERROR(reader.Read(flag));
      if (flag > 1) return reader.Broken(absl::StrCat("a bool of value ", flag));
      return GgufValue(flag == 1);
    }
    case kString: {
      absl::string_view text;
      RETURN_IF_ERROR(reader.ReadString(text));
      return GgufValue(text);
    }
    default:
      return reader.Broken(absl::StrCat("value of unknown type ", type));
  }
}

}  // namespace

absl::StatusOr<GgufValue> ReadGgufValue(GgufReader& reader) {
  uint32_t type = 0;
  RETURN_IF_ERROR(reader.Read(type));
  return type == kArray ? ReadArray(reader) : ReadScalar(reader, type);
}

}  // namespace phalanx
