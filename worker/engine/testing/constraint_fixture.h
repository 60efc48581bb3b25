// What the tests of an engine with constraints share.
#ifndef PHALANX_WORKER_ENGINE_TESTING_CONSTRAINT_FIXTURE_H_
#define PHALANX_WORKER_ENGINE_TESTING_CONSTRAINT_FIXTURE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "worker/constraint/constraint_compiler.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {

// Tokens are the 256 bytes, then this one. The vocabulary of the model is larger.
inline constexpr int32_t kEnd = 256;

// The check of constraints waits for go_on_, if it is held.
class ConstraintEngineTest : public EngineTest {
 protected:
  void StartWithConstraints(const Sizes& sizes, const ConstraintLimits& limits = {},
                            size_t max_queued = 16) {
    const auto vocabulary = [] {
      TokenizerAssets assets;
      for (int byte = 0; byte < 256; ++byte) {
        assets.token_bytes.emplace_back(1, static_cast<char>(byte));
      }
      assets.token_bytes.emplace_back("<end>");
      assets.token_kinds.assign(256, TokenKind::kNormal);
      assets.token_kinds.push_back(TokenKind::kControl);
      assets.eos_token_ids = {kEnd};
      return ConstraintVocabulary::Create(assets, kVocab);
    };
    const auto check = [this](const auto&, const auto&, const auto&) {
      if (held_) go_on_.get_future().wait();
      return absl::OkStatus();
    };
    Start(sizes,
          std::make_unique<ConstraintCompiler>(
              vocabulary, ConstraintCompiler::Options{.limits = limits, .max_queued = max_queued},
              check));
  }

  static GenerationRequest Constrained(const std::string& regex, int max_new_tokens = 100) {
    GenerationRequest request = Request(Prompt(20), max_new_tokens);
    request.eos_token_ids = {kEnd};
    request.constraint = {{ConstraintKind::kRegex, regex}, AnswerBegin::kAtOnce};
    return request;
  }

  std::string Text(RequestId id) const {
    std::string text;
    for (const int32_t token : sink_->Get(id).tokens) {
      if (token == kEnd) {
        text += "<end>";
      } else {
        text.push_back(static_cast<char>(token));
      }
    }
    return text;
  }

  std::atomic<bool> held_ = false;
  std::promise<void> go_on_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_CONSTRAINT_FIXTURE_H_
