#include "model/files/json.h"

#include <iterator>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/json_text.h"
#include "base/number_text.h"
#include "base/status.h"
#include "model/files/mapped_file.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

// With fewer members than this, comparing keys one by one is faster than hashing them.
constexpr size_t kMinIndexedMembers = 16;
constexpr size_t kMaxDescribedBytes = 60;

// An iterator over characters that tells through `reached` how far the parser has come. The parser
// copies it as it likes.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

std::string Printable(absl::string_view text) {
  return absl::CHexEscape(text.substr(0, kMaxDescribedBytes));
}

}  // namespace

struct JsonValue::Object {
  std::vector<JsonMember> members;
  // Filled for objects with many members. Its keys point into `members`.
  absl::flat_hash_map<absl::string_view, const JsonValue*> index;

  // To be called when all members are there. Returns false if a key is there twice.
  bool Index() {
    if (members.size() < kMinIndexedMembers) return true;
    index.reserve(members.size());
    for (const JsonMember& member : members) index.emplace(member.key, &member.value);
    return index.size() == members.size();
  }

  const JsonValue* Find(absl::string_view key) const {
    if (members.size() >= kMinIndexedMembers) {
      const auto it = index.find(key);
      return it == index.end() ? nullptr : it->second;
    }
    for (const JsonMember& member : members) {
      if (member.key == key) return &member.value;
    }
    return nullptr;
  }
};

JsonValue::JsonValue() = default;
JsonValue::JsonValue(JsonValue&& other) noexcept = default;
JsonValue& JsonValue::operator=(JsonValue&& other) noexcept = default;
JsonValue::~JsonValue() = default;

std::optional<bool> JsonValue::AsBool() const {
  const bool* value = std::get_if<bool>(&value_);
  return value == nullptr ? std::nullopt : std::optional<bool>(*value);
}

std::optional<int64_t> JsonValue::AsInt() const {
  const int64_t* value = std::get_if<int64_t>(&value_);
  return value == nullptr ? std::nullopt : std::optional<int64_t>(*value);
}

std::optional<uint64_t> JsonValue::AsUnsigned() const {
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return *value;
  const std::optional<int64_t> value = AsInt();
  if (!value.has_value() || *value < 0) return std::nullopt;
  return static_cast<uint64_t>(*value);
}

std::optional<double> JsonValue::AsNumber() const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return static_cast<double>(*value);
  return std::nullopt;
}

absl::Span<const JsonValue> JsonValue::elements() const {
  const Array* array = std::get_if<Array>(&value_);
  if (array == nullptr) return {};
  return absl::MakeConstSpan(*array);
}

absl::Span<const JsonMember> JsonValue::members() const {
  const auto* object = std::get_if<std::unique_ptr<Object>>(&value_);
  if (object == nullptr) return {};
  return absl::MakeConstSpan((*object)->members);
}

const JsonValue* JsonValue::Find(absl::string_view key) const {
  const auto* object = std::get_if<std::unique_ptr<Object>>(&value_);
  return object == nullptr ? nullptr : (*object)->Find(key);
}

absl::string_view JsonValue::TypeName() const {
  constexpr absl::string_view kNames[] = {"null",     "a bool",   "an integer", "an integer",
                                          "a number", "a string", "an array",   "an object"};
  return kNames[value_.index()];
}

std::string JsonValue::Describe() const {
  if (const std::optional<bool> flag = AsBool()) return *flag ? "true" : "false";
  if (const std::optional<int64_t> number = AsInt()) return absl::StrCat(*number);
  if (const std::optional<uint64_t> number = AsUnsigned()) return absl::StrCat(*number);
  if (const std::optional<double> number = AsNumber()) return NumberText(*number);
  if (const std::string* text = AsString(); text != nullptr && text->size() <= kMaxDescribedBytes) {
    return absl::StrCat("\"", Printable(*text), "\"");
  }
  return std::string(TypeName());
}

// Takes the events of the parser; the names of its methods are nlohmann's.
class JsonBuilder {
 public:
  JsonBuilder(const JsonLimits& limits, const char* const* reached, const char* begin)
      : limits_(limits), reached_(reached), begin_(begin) {}

  bool null() { return Add(JsonValue()); }
  bool boolean(bool value) { return AddOf(value); }
  bool number_integer(int64_t value) { return AddOf(value); }
  bool number_unsigned(uint64_t value) {
    return value > uint64_t{INT64_MAX} ? AddOf(value) : AddOf(static_cast<int64_t>(value));
  }
  bool number_float(double value, const std::string& digits) { return AddOf(value); }
  bool string(std::string& value) { return AddOf(std::move(value)); }
  bool binary(nlohmann::json::binary_t& value) { return Fail("binary data"); }
  bool start_array(size_t count) { return Open(JsonValue::Array()); }
  bool start_object(size_t count) { return Open(std::make_unique<JsonValue::Object>()); }
  bool end_array() { return Close(); }
  bool key(std::string& name);
  bool end_object();
  bool parse_error(size_t position, const std::string& token, const std::exception& error);

  // What the failure was that ended parsing, and at which byte.
  const std::string& error() const { return error_; }
  size_t error_position() const { return error_position_; }
  JsonValue Take() { return std::move(root_); }

 private:
  using Object = JsonValue::Object;
  // An array or object that is not closed yet.
  struct Level {
    JsonValue value;
    std::string key;  // The key of the member that comes next.
  };

  template <typename T>
  bool AddOf(T value) {
    JsonValue json;
    json.value_ = std::move(value);
    return Add(std::move(json));
  }
  bool Add(JsonValue value);
  template <typename T>
  bool Open(T container);
  bool Close();
  bool Fail(absl::string_view what);

  const JsonLimits& limits_;
  const char* const* const reached_;
  const char* const begin_;
  size_t num_values_ = 0;
  // Arrays and objects that are open, the innermost last: so nothing here recurses.
  std::vector<Level> levels_;
  JsonValue root_;
  std::string error_;
  size_t error_position_ = 0;
};

bool JsonBuilder::Fail(absl::string_view what) {
  error_ = std::string(what);
  error_position_ = static_cast<size_t>(*reached_ - begin_);
  return false;
}

bool JsonBuilder::parse_error(size_t position, const std::string& token,
                              const std::exception& error) {
  // nlohmann's message follows "[json.exception.parse_error.101] parse error at line 1, column 2:
  // ".
  absl::string_view what = error.what();
  const size_t colon = what.find(": ");
  if (colon != absl::string_view::npos) what = what.substr(colon + 2);
  // Quotes are not escaped, since the message is not put in quotes.
  return Fail(
      absl::StrReplaceAll(absl::CHexEscape(what.substr(0, 300)), {{"\\'", "'"}, {"\\\"", "\""}}));
}

bool JsonBuilder::Add(JsonValue value) {
  if (++num_values_ > limits_.max_values) {
    return Fail(absl::StrCat("more than ", limits_.max_values, " values"));
  }
  if (levels_.empty()) {
    root_ = std::move(value);
    return true;
  }
  Level& level = levels_.back();
  if (auto* array = std::get_if<JsonValue::Array>(&level.value.value_)) {
    array->push_back(std::move(value));
  } else {
    auto& object = std::get<std::unique_ptr<Object>>(level.value.value_);
    object->members.push_back({std::move(level.key), std::move(value)});
  }
  return true;
}

template <typename T>
bool JsonBuilder::Open(T container) {
  if (levels_.size() >= static_cast<size_t>(limits_.max_depth)) {
    return Fail(absl::StrCat("nested deeper than ", limits_.max_depth));
  }
  levels_.emplace_back();
  levels_.back().value.value_ = std::move(container);
  return true;
}

bool JsonBuilder::Close() {
  JsonValue value = std::move(levels_.back().value);
  levels_.pop_back();
  return Add(std::move(value));
}

bool JsonBuilder::key(std::string& name) {
  Level& level = levels_.back();
  const Object& object = *std::get<std::unique_ptr<Object>>(level.value.value_);
  // In objects with few members a key is checked at once, so that the error names its byte. Large
  // objects are checked when they end.
  if (object.members.size() < kMinIndexedMembers && object.Find(name) != nullptr) {
    return Fail(absl::StrCat("key \"", Printable(name), "\" is there twice"));
  }
  level.key = std::move(name);
  return true;
}

bool JsonBuilder::end_object() {
  Object& object = *std::get<std::unique_ptr<Object>>(levels_.back().value.value_);
  if (!object.Index()) {
    absl::flat_hash_set<absl::string_view> seen;
    for (const JsonMember& member : object.members) {
      if (!seen.insert(member.key).second) {
        return Fail(absl::StrCat("key \"", Printable(member.key),
                                 "\" is there twice in the object that ends here"));
      }
    }
  }
  return Close();
}

absl::StatusOr<JsonValue> ParseJson(absl::string_view text, absl::string_view source,
                                    const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::DataLossError(absl::StrCat(source, ": ", text.size(), " bytes of JSON, where ",
                                            limits.max_bytes, " are allowed"));
  }
  if (const std::optional<JsonTextProblem> problem = FindJsonTextProblem(text)) {
    return absl::DataLossError(absl::StrCat(source, ": byte ", problem->byte, ": ", problem->what));
  }
  const char* reached = text.data();
  JsonBuilder builder(limits, &reached, text.data());
  if (!nlohmann::json::sax_parse(CountingIterator(text.data(), &reached),
                                 CountingIterator(text.data() + text.size(), &reached), &builder)) {
    return absl::DataLossError(
        absl::StrCat(source, ": byte ", builder.error_position(), ": ", builder.error()));
  }
  return builder.Take();
}

absl::StatusOr<JsonValue> ReadJsonFile(const std::string& path, const JsonLimits& limits) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  return ParseJson(file->text(), path, limits);
}

}  // namespace phalanx
