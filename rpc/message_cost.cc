#include "rpc/message_cost.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::MessageFactory;
using ::google::protobuf::internal::WireFormatLite;

// A std::string, its place in a list and the header of its memory.
constexpr int64_t kStringCost = sizeof(std::string) + 2 * sizeof(void*);
constexpr int64_t kElementCost = 8;
// An UnknownField. One with a length also owns a string.
constexpr int64_t kUnknownCost = 16;
// The longest varints that protobuf's parser takes. CodedInputStream takes longer ones, so their
// length is checked here.
constexpr int kMaxVarintBytes = 10;
constexpr int kMaxVarint32Bytes = 5;

class CostScanner {
 public:
  CostScanner(absl::string_view bytes, int64_t max_cost)
      : in_(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size())),
        max_cost_(max_cost) {
    in_.PushLimit(static_cast<int>(bytes.size()));
  }

  // False if the limit was passed or the bytes are malformed.
  bool Scan(const Descriptor* type) {
    while (const uint32_t tag = ReadTag()) {
      const int number = WireFormatLite::GetTagFieldNumber(tag);
      if (number == 0) return false;
      const FieldDescriptor* const field = type->FindFieldByNumber(number);
      if (!ScanField(field, tag)) {
        // Each level adds its field to the path while the recursion returns.
        if (over_limit()) Blame(field);
        return false;
      }
    }
    // A tag of 0 may also be what is wrong with the bytes.
    return in_.ConsumedEntireMessage();
  }

  bool over_limit() const { return cost_.bytes > max_cost_; }
  const MessageCost& cost() const { return cost_; }
  // The field at which the limit was passed, with those around it from the outermost message on.
  const std::string& path() const { return path_; }

 private:
  bool ScanField(const FieldDescriptor* field, uint32_t tag) {
    const WireFormatLite::WireType wire_type = WireFormatLite::GetTagWireType(tag);
    if (wire_type == WireFormatLite::WIRETYPE_START_GROUP ||
        wire_type == WireFormatLite::WIRETYPE_END_GROUP) {
      return false;
    }
    if (field != nullptr) {
      const auto own_type = WireFormatLite::WireTypeForFieldType(
          static_cast<WireFormatLite::FieldType>(field->type()));
      if (wire_type == own_type) {
        return wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED
                   ? ScanObject(field)
                   : ScanScalar(tag, kElementCost);
      }
      if (field->is_packable() && wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        return ScanPacked(own_type);
      }
    }
    // Protobuf keeps a field that has the wrong wire type as an unknown one too.
    if (cost_.unknown_field.empty()) {
      cost_.unknown_field = PathOf(field, WireFormatLite::GetTagFieldNumber(tag));
    }
    return wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED
               ? ScanText(kUnknownCost + kStringCost)
               : ScanScalar(tag, kUnknownCost);
  }

  bool ScanScalar(uint32_t tag, int64_t cost) {
    return Charge(cost) && WireFormatLite::SkipField(&in_, tag);
  }

  // A text, bytes or a message.
  bool ScanObject(const FieldDescriptor* field) {
    if (field->message_type() == nullptr) return ScanText(kStringCost);
    int length;
    if (!Charge(CostOf(field->message_type())) || !ReadLength(&length)) return false;
    const auto outer = in_.PushLimit(length);
    around_.push_back(field);
    const bool scanned = Scan(field->message_type());
    around_.pop_back();
    in_.PopLimit(outer);
    return scanned;
  }

  bool ScanText(int64_t fixed_cost) {
    int length;
    return ReadLength(&length) && Charge(fixed_cost + length) && in_.Skip(length);
  }

  bool ScanPacked(WireFormatLite::WireType element_type) {
    int length;
    if (!ReadLength(&length)) return false;
    // Numbers of four or eight bytes, at most one element of eight for each four.
    if (element_type != WireFormatLite::WIRETYPE_VARINT) {
      return Charge(2 * static_cast<int64_t>(length)) && in_.Skip(length);
    }
    const void* data = nullptr;
    int available = 0;
    if (length > 0 && !in_.GetDirectBufferPointer(&data, &available)) return false;
    const auto* const begin = static_cast<const uint8_t*>(data);
    // The last byte of a varint is below 0x80.
    int64_t elements = 0;
    int varint_bytes = 0;
    for (const uint8_t* byte = begin; byte < begin + length; ++byte) {
      ++varint_bytes;
      const bool is_last = *byte < 0x80;
      if (!is_last && varint_bytes == kMaxVarintBytes) return false;
      if (!is_last) continue;
      ++elements;
      varint_bytes = 0;
    }
    return varint_bytes == 0 && Charge(elements * kElementCost) && in_.Skip(length);
  }

  // Returns 0 at the end, or if no tag follows.
  uint32_t ReadTag() {
    const int begin = in_.CurrentPosition();
    const uint32_t tag = in_.ReadTag();
    return in_.CurrentPosition() - begin > kMaxVarint32Bytes ? 0 : tag;
  }

  bool ReadLength(int* length) {
    const int begin = in_.CurrentPosition();
    uint32_t value;
    if (!in_.ReadVarint32(&value) || in_.CurrentPosition() - begin > kMaxVarint32Bytes ||
        value > static_cast<uint32_t>(in_.BytesUntilLimit())) {
      return false;
    }
    *length = static_cast<int>(value);
    return true;
  }

  bool Charge(int64_t bytes) {
    cost_.bytes += bytes;
    return !over_limit();
  }

  // An empty object of this type, and its pointers in a list.
  int64_t CostOf(const Descriptor* type) {
    const auto [place, is_new] = object_costs_.try_emplace(type, 0);
    if (is_new) {
      const Message* const prototype = MessageFactory::generated_factory()->GetPrototype(type);
      place->second = static_cast<int64_t>(prototype->SpaceUsedLong()) + 2 * kElementCost;
    }
    return place->second;
  }

  // Of a field in the message that is being scanned; `field` is null for one without a name.
  std::string PathOf(const FieldDescriptor* field, int number) const {
    std::string path;
    for (const FieldDescriptor* const outer : around_) absl::StrAppend(&path, outer->name(), ".");
    return field == nullptr ? absl::StrCat(path, number) : absl::StrCat(path, field->name());
  }

  void Blame(const FieldDescriptor* field) {
    const std::string name = field == nullptr ? "an unknown field" : field->name();
    path_ = path_.empty() ? name : absl::StrCat(name, ".", path_);
  }

  google::protobuf::io::CodedInputStream in_;
  const int64_t max_cost_;
  MessageCost cost_;
  std::string path_;
  // The fields whose messages are being scanned, from the outermost on.
  std::vector<const FieldDescriptor*> around_;
  absl::flat_hash_map<const Descriptor*, int64_t> object_costs_;
};

}  // namespace

absl::StatusOr<MessageCost> MeasureMessage(const Message& message, absl::string_view bytes,
                                           int64_t max_cost) {
  CostScanner scanner(bytes, max_cost);
  if (scanner.Scan(message.GetDescriptor())) return scanner.cost();
  if (scanner.over_limit()) {
    return absl::InvalidArgumentError(
        absl::StrCat(scanner.path(), ": so many or so large values that the request would take ",
                     "more than ", max_cost, " bytes of memory, which is the most it may"));
  }
  return absl::InvalidArgumentError(absl::StrCat("request: the ", bytes.size(), " bytes are no ",
                                                 message.GetTypeName(),
                                                 ": truncated or malformed"));
}

}  // namespace phalanx
