#include "model/text/tokenizer_steps.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "model/files/json.h"
#include "model/text/split_patterns.h"

namespace phalanx {
namespace {

// A step, and the reader that knows which of its keys were read.
struct Step {
  std::string type;
  // Its messages begin with the key of the step.
  ConfigReader reader;
};

// Reads the steps under `key`; none if it is null. The steps of a sequence stand in its place;
// `list` is the key under which a sequence has them. In files that tokenizers writes, a sequence
// does not hold another.
absl::StatusOr<std::vector<Step>> ReadSteps(ConfigReader& file, absl::string_view key,
                                            absl::string_view list) {
  std::vector<Step> steps;
  const JsonValue* const value = file.Find(key);
  if (value == nullptr) return steps;
  ConfigReader outer(*value, file.path(), absl::StrCat(key, "."));
  ASSIGN_OR_RETURN(std::string type, outer.StringOr("type", ""));
  if (absl::string_view(type) != "Sequence") {
    steps.push_back({std::move(type), std::move(outer)});
    return steps;
  }
  const JsonValue* const elements = outer.Find(list);
  if (elements == nullptr || !elements->is_array()) return outer.Impossible(list, "not a list");
  RETURN_IF_ERROR(outer.RefuseOthers());
  for (size_t i = 0; i < elements->elements().size(); ++i) {
    ConfigReader inner(elements->elements()[i], file.path(),
                       absl::StrCat(key, ".", list, "[", i, "]."));
    ASSIGN_OR_RETURN(std::string inner_type, inner.StringOr("type", ""));
    steps.push_back({std::move(inner_type), std::move(inner)});
  }
  return steps;
}

absl::Status RefuseStep(const Step& step, absl::string_view supported) {
  return step.reader.Unsupported("type", absl::CHexEscape(step.type.substr(0, 60)),
                                 " is not supported; these are: ", supported);
}

absl::Status ReadNormalizer(ConfigReader& file, TokenizerAssets& assets) {
  ASSIGN_OR_RETURN(std::vector<Step> steps, ReadSteps(file, "normalizer", "normalizers"));
  for (Step& step : steps) {
    if (step.type != "NFC") return RefuseStep(step, "NFC, Sequence");
    RETURN_IF_ERROR(step.reader.RefuseOthers());
    assets.normalizes_to_nfc = true;
  }
  return absl::OkStatus();
}

// A regular expression that matches `text` and nothing else.
std::string Quote(absl::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (absl::ascii_ispunct(static_cast<unsigned char>(c))) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

absl::Status ReadSplit(Step& step, TokenizerAssets& assets) {
  const JsonValue* const pattern = step.reader.Find("pattern");
  const JsonValue* const regex = pattern == nullptr ? nullptr : pattern->Find("Regex");
  const JsonValue* const literal = pattern == nullptr ? nullptr : pattern->Find("String");
  const JsonValue* const source = regex == nullptr ? literal : regex;
  if (source == nullptr || source->AsString() == nullptr || pattern->members().size() != 1) {
    return step.reader.Impossible("pattern", "neither a Regex nor a String");
  }
  ASSIGN_OR_RETURN(const std::string behavior, step.reader.StringOr("behavior", ""));
  ASSIGN_OR_RETURN(const bool invert, step.reader.BoolOr("invert", false));
  // If inverted, what lies between the matches is removed.
  if (behavior != "Isolated" && !(behavior == "Removed" && invert)) {
    return step.reader.Unsupported("behavior", absl::CHexEscape(behavior.substr(0, 60)),
                                   invert ? " inverted" : "",
                                   " is not supported; these are: Isolated, Removed inverted");
  }
  RETURN_IF_ERROR(step.reader.RefuseOthers());
  assets.split_rules.push_back(
      {.pattern = regex != nullptr ? *source->AsString() : Quote(*source->AsString()),
       .keeps_rest = behavior == "Isolated"});
  return absl::OkStatus();
}

absl::Status ReadDigits(Step& step, TokenizerAssets& assets) {
  ASSIGN_OR_RETURN(const bool individual, step.reader.BoolOr("individual_digits", false));
  RETURN_IF_ERROR(step.reader.RefuseOthers());
  assets.split_rules.push_back({individual ? kDigitPattern : kDigitsPattern});
  return absl::OkStatus();
}

// Accepts the keys of a ByteLevel that splits nothing: they have no effect there.
absl::Status CheckByteLevelKeys(Step& step) {
  for (const char* const key : {"add_prefix_space", "trim_offsets", "use_regex"}) {
    step.reader.Find(key);
  }
  return step.reader.RefuseOthers();
}

absl::Status ReadByteLevel(Step& step, TokenizerAssets& assets) {
  ASSIGN_OR_RETURN(const bool add_prefix_space, step.reader.BoolOr("add_prefix_space", true));
  if (add_prefix_space) {
    return step.reader.Unsupported("add_prefix_space", "true is not supported; false is");
  }
  ASSIGN_OR_RETURN(const bool use_regex, step.reader.BoolOr("use_regex", true));
  if (use_regex) assets.split_rules.push_back({kGpt2Pattern});
  // This is about the places of tokens in the text, which nobody asks for.
  step.reader.Find("trim_offsets");
  return step.reader.RefuseOthers();
}

absl::Status ReadPreTokenizer(ConfigReader& file, TokenizerAssets& assets) {
  ASSIGN_OR_RETURN(std::vector<Step> steps, ReadSteps(file, "pre_tokenizer", "pretokenizers"));
  bool spelled = false;
  for (Step& step : steps) {
    if (spelled) {
      return step.reader.Unsupported("type", absl::CHexEscape(step.type.substr(0, 60)),
                                     " is not supported behind ByteLevel");
    }
    if (step.type == "Split") {
      RETURN_IF_ERROR(ReadSplit(step, assets));
    } else if (step.type == "Digits") {
      RETURN_IF_ERROR(ReadDigits(step, assets));
    } else if (step.type == "ByteLevel") {
      RETURN_IF_ERROR(ReadByteLevel(step, assets));
      spelled = true;
    } else {
      return RefuseStep(step, "ByteLevel, Digits, Sequence, Split");
    }
  }
  if (!spelled) return file.Unsupported("pre_tokenizer", "only byte-level ones are supported");
  return absl::OkStatus();
}

absl::Status CheckDecoder(ConfigReader& file) {
  ASSIGN_OR_RETURN(std::vector<Step> steps, ReadSteps(file, "decoder", "decoders"));
  if (steps.size() != 1) return file.Unsupported("decoder", "only ByteLevel alone is supported");
  if (steps[0].type != "ByteLevel") return RefuseStep(steps[0], "ByteLevel");
  return CheckByteLevelKeys(steps[0]);
}

// The id of the token that a template calls by a name.
absl::StatusOr<int32_t> TemplateToken(Step& step, const JsonValue& name) {
  const JsonValue* const tokens = step.reader.Find("special_tokens");
  const JsonValue* const token =
      tokens == nullptr || name.AsString() == nullptr ? nullptr : tokens->Find(*name.AsString());
  const JsonValue* const ids = token == nullptr ? nullptr : token->Find("ids");
  std::optional<int64_t> id;
  if (ids != nullptr && ids->elements().size() == 1) id = ids->elements()[0].AsInt();
  if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
    return step.reader.Impossible("special_tokens", name.Describe(), " is not one token there");
  }
  return static_cast<int32_t>(*id);
}

// Reads a template, which must be [the text] or [a token, the text].
absl::StatusOr<std::optional<int32_t>> ReadTemplate(Step& step) {
  const JsonValue* const single = step.reader.Find("single");
  if (single == nullptr || !single->is_array()) {
    return step.reader.Impossible("single", "not a list");
  }
  std::optional<int32_t> first;
  bool has_text = false;
  for (const JsonValue& piece : single->elements()) {
    const JsonValue* const token = piece.Find("SpecialToken");
    if (token == nullptr && piece.Find("Sequence") != nullptr && !has_text) {
      has_text = true;
      continue;
    }
    const JsonValue* const name = token == nullptr ? nullptr : token->Find("id");
    if (name == nullptr || has_text || first) {
      return step.reader.Unsupported("single", "only one token before the text is supported");
    }
    ASSIGN_OR_RETURN(first, TemplateToken(step, *name));
  }
  if (!has_text) return step.reader.Impossible("single", "does not have the text");
  for (const char* const key : {"pair", "special_tokens"}) step.reader.Find(key);
  RETURN_IF_ERROR(step.reader.RefuseOthers());
  return first;
}

}  // namespace

absl::Status ReadTokenizerSteps(ConfigReader& file, TokenizerAssets& assets) {
  RETURN_IF_ERROR(ReadNormalizer(file, assets));
  RETURN_IF_ERROR(ReadPreTokenizer(file, assets));
  return CheckDecoder(file);
}

absl::StatusOr<std::optional<int32_t>> ReadFirstToken(ConfigReader& file) {
  ASSIGN_OR_RETURN(std::vector<Step> steps, ReadSteps(file, "post_processor", "processors"));
  std::optional<int32_t> first;
  for (Step& step : steps) {
    if (step.type == "ByteLevel") {  // Trims the places of tokens only.
      RETURN_IF_ERROR(CheckByteLevelKeys(step));
      continue;
    }
    if (step.type != "TemplateProcessing" || first) {
      return RefuseStep(step, "ByteLevel, one TemplateProcessing, Sequence");
    }
    ASSIGN_OR_RETURN(first, ReadTemplate(step));
  }
  return first;
}

}  // namespace phalanx
