// Conformance: what Python's jsonschema calls valid can be written, and nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/text/tokenizer_assets_hf.h"
#include "nlohmann/json.hpp"
#include "worker/constraint/constraint.h"
#include "worker/constraint/constraint_vocabulary.h"

namespace phalanx {
namespace {

constexpr int kVocab = 200'064;

// Phi-4-mini's vocabulary, and a way to cut a text into its tokens.
class Tokens {
 public:
  Tokens() {
    std::string path = std::getenv("PHI4_MINI");
    path.resize(path.rfind('/'));
    const TokenizerAssets assets = *ReadTokenizerAssets(path, kVocab);
    vocabulary_ = *ConstraintVocabulary::Create(assets, kVocab);
    for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
      if (assets.token_kinds[id] != TokenKind::kNormal) continue;
      ids_[assets.token_bytes[id]] = static_cast<int32_t>(id);
      longest_ = std::max(longest_, assets.token_bytes[id].size());
    }
  }

  // The longest token that fits, again and again; with `max_bytes` of 1, byte by byte.
  std::vector<int32_t> Cut(absl::string_view text, size_t max_bytes) const {
    std::vector<int32_t> tokens;
    while (!text.empty()) {
      for (size_t size = std::min({text.size(), max_bytes, longest_});; --size) {
        const auto found = ids_.find(text.substr(0, size));
        if (found == ids_.end()) continue;
        tokens.push_back(found->second);
        text.remove_prefix(size);
        break;
      }
    }
    tokens.push_back(vocabulary_->end_token_ids().front());
    return tokens;
  }

  const std::shared_ptr<const ConstraintVocabulary>& vocabulary() const { return vocabulary_; }

 private:
  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  absl::flat_hash_map<std::string, int32_t> ids_;
  size_t longest_ = 1;
};

// Whether the masks allow these tokens, one after the other. Notes the most work for one of them.
bool Allows(const Constraint& constraint, const std::vector<int32_t>& tokens,
            uint64_t* most_work = nullptr) {
  const std::unique_ptr<Constraint> copy = constraint.Copy();
  std::vector<uint32_t> mask(static_cast<size_t>(copy->vocabulary().mask_words()));
  for (const int32_t token : tokens) {
    if (!copy->Mask(absl::MakeSpan(mask)).ok()) return false;
    if (most_work != nullptr) *most_work = std::max(*most_work, copy->last_work());
    if ((mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1) == 0) return false;
    if (!copy->Accept(token).ok()) return false;
  }
  return true;
}

class JsonSchemaTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    tokens_ = new Tokens;
    cases_ = new nlohmann::ordered_json(
        nlohmann::ordered_json::parse(std::ifstream(std::getenv("CASES"))));
  }
  static void TearDownTestSuite() {
    delete tokens_;
    delete cases_;
  }

  static std::unique_ptr<Constraint> Compile(const nlohmann::ordered_json& schema) {
    auto constraint = Constraint::Compile(tokens_->vocabulary(),
                                          {ConstraintKind::kJsonSchema, schema.dump()}, {});
    EXPECT_TRUE(constraint.ok()) << schema << ": " << constraint.status();
    return constraint.ok() ? *std::move(constraint) : nullptr;
  }

  static Tokens* tokens_;
  static nlohmann::ordered_json* cases_;
};

Tokens* JsonSchemaTest::tokens_ = nullptr;
nlohmann::ordered_json* JsonSchemaTest::cases_ = nullptr;

TEST_F(JsonSchemaTest, ValidTextsCanBeWrittenAndNoOthers) {
  int schemas = 0;
  int texts = 0;
  uint64_t most_work = 0;
  for (const auto& entry : (*cases_)["cases"]) {
    const std::unique_ptr<Constraint> constraint = Compile(entry["schema"]);
    if (constraint == nullptr) continue;
    ++schemas;
    for (const bool valid : {true, false}) {
      for (const auto& text : entry[valid ? "valid" : "invalid"]) {
        for (const size_t max_bytes : {size_t{1}, size_t{1000}}) {
          const auto tokens = tokens_->Cut(text.get<std::string>(), max_bytes);
          EXPECT_EQ(Allows(*constraint, tokens, &most_work), valid)
              << entry["schema"] << " and " << text;
        }
        ++texts;
      }
    }
  }
  EXPECT_GE(schemas, 150);
  EXPECT_GE(texts, 2000);
  EXPECT_LT(most_work, ConstraintLimits().step_max_work / 2);
  RecordProperty("most_work", std::to_string(most_work));
}

// If one of these can be written some day, docs/constraints.md is to be changed.
TEST_F(JsonSchemaTest, SomeValidTextsAreNeverWritten) {
  for (const auto& entry : (*cases_)["narrower"]) {
    const std::unique_ptr<Constraint> constraint = Compile(entry["schema"]);
    if (constraint == nullptr) continue;
    for (const auto& text : entry["valid"]) {
      EXPECT_FALSE(Allows(*constraint, tokens_->Cut(text.get<std::string>(), 1000)))
          << entry["schema"] << " and " << text;
    }
  }
}

}  // namespace
}  // namespace phalanx
