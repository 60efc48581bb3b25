#include "coordinator/admission/json_object.h"

#include <cstddef>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/json_text.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

constexpr size_t kMaxQuotedDigits = 32;

// Called by the parser for each value, so that no tree is built. Keeps the first problem; returning
// false ends the parsing.
class ObjectChecker final : public nlohmann::json::json_sax_t {
 public:
  // Appends the names of the outermost object to `names`, unless that is null.
  explicit ObjectChecker(std::vector<std::string>* names = nullptr) : names_(names) {}

  bool null() override { return CheckInside(); }
  bool boolean(bool /*value*/) override { return CheckInside(); }
  bool number_integer(number_integer_t /*value*/) override { return CheckInside(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return CheckInside(); }
  // The parser also calls this for integers that are too large for its integer types.
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    if (text.find_first_of(".eE") == std::string::npos) {
      return Fail(absl::StrCat("the integer ", text.substr(0, kMaxQuotedDigits),
                               text.size() > kMaxQuotedDigits ? "..." : "",
                               " is not in [-2^63, 2^64)"));
    }
    return CheckInside();
  }
  bool string(string_t& /*value*/) override { return CheckInside(); }
  bool binary(binary_t& /*value*/) override { return CheckInside(); }
  bool start_object(size_t /*num_elements*/) override { return Enter(); }
  bool key(string_t& value) override {
    if (depth_ == 1 && names_ != nullptr) names_->push_back(value);
    return true;
  }
  bool end_object() override { return Leave(); }
  bool start_array(size_t /*num_elements*/) override { return CheckInside() && Enter(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t position, const std::string& /*last_token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    // The parser counts the byte that is wrong, or the end, as read.
    return Fail(absl::StrCat("is no JSON at byte ", position == 0 ? 0 : position - 1));
  }

  const std::string& problem() const { return problem_; }

 private:
  // For a value that is no object: the outermost must be one.
  bool CheckInside() { return depth_ > 0 || Fail("must be a JSON object"); }
  bool Enter() {
    ++depth_;
    return depth_ <= kMaxJsonDepth ||
           Fail(absl::StrCat("is nested more than ", kMaxJsonDepth, " deep"));
  }
  bool Leave() {
    --depth_;
    return true;
  }
  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  std::vector<std::string>* const names_;
  int depth_ = 0;
  std::string problem_;
};

}  // namespace

std::string FindJsonObjectProblem(absl::string_view json) {
  // What the parser would take although it is not JSON.
  if (const std::optional<JsonTextProblem> problem = FindJsonTextProblem(json)) {
    return absl::StrCat("is no JSON at byte ", problem->byte, ": ", problem->what);
  }
  ObjectChecker checker;
  nlohmann::json::sax_parse(json.begin(), json.end(), &checker);
  return checker.problem();
}

std::vector<std::string> JsonObjectNames(absl::string_view json) {
  std::vector<std::string> names;
  ObjectChecker collector(&names);
  nlohmann::json::sax_parse(json.begin(), json.end(), &collector);
  return names;
}

}  // namespace phalanx
