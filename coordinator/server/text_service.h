// What the server needs from text processing.
#ifndef PHALANX_COORDINATOR_SERVER_TEXT_SERVICE_H_
#define PHALANX_COORDINATOR_SERVER_TEXT_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/text/template/conversation.h"
#include "coordinator/text/tokenizer/text_span.h"

namespace phalanx {

struct EncodeOptions {
  // Whether a spelling of a control token in the caller's text becomes that token.
  bool allow_special = false;
  // Whether the tokens begin with the bos token (GenerateRequest.add_bos). Unset: as the tokenizer
  // does with texts, and the template with chats.
  std::optional<bool> add_bos = std::nullopt;
  // Whether EncodedPrompt::pieces is asked for.
  bool pieces = false;
};

struct TokenPiece {
  // The token's own bytes; the spelling of a control token.
  std::string bytes;
  // What it stands for in EncodedPrompt::text; see Tokenizer::Encode.
  TextSpan span;
};

struct EncodedPrompt {
  std::vector<int32_t> token_ids;
  // What was tokenized: the text itself, or the rendered conversation.
  std::string text;
  // One for each token, if they were asked for.
  std::vector<TokenPiece> pieces = {};
};

// The text of one answer, piece by piece. Thread-compatible.
class AnswerDecoder {
 public:
  virtual ~AnswerDecoder() = default;

  // Returns the text that has become certain, as whole UTF-8 characters; empty while a character is
  // incomplete. Takes microseconds a token, since it runs on the event thread of a session.
  virtual std::string Append(absl::Span<const int32_t> token_ids) = 0;
  // To be called when the answer has finished: returns the text that is left.
  virtual std::string Finish() = 0;
};

// Thread-safe. Errors are for the caller of the API: INVALID_ARGUMENT naming the field.
class TextService {
 public:
  virtual ~TextService() = default;

  // EncodeText and EncodeChat take time in proportion to their input, so they run on the text pool.
  // Once another thread sets `cancelled`, they soon end with CANCELLED.
  virtual absl::StatusOr<EncodedPrompt> EncodeText(absl::string_view text,
                                                   const EncodeOptions& options,
                                                   const std::atomic<bool>& cancelled) const = 0;
  virtual absl::StatusOr<EncodedPrompt> EncodeChat(const Conversation& conversation,
                                                   const EncodeOptions& options,
                                                   const std::atomic<bool>& cancelled) const = 0;
  // The text of `token_ids`, which must be within the vocabulary. Control tokens are spelled out.
  virtual std::string Decode(absl::Span<const int32_t> token_ids) const = 0;

  virtual std::unique_ptr<AnswerDecoder> NewAnswerDecoder() const = 0;
  // For answers whose tool calls are parsed: control tokens that begin or end a call are spelled
  // out. Must outlive the result.
  virtual std::unique_ptr<AnswerDecoder> NewToolAnswerDecoder() const { return NewAnswerDecoder(); }
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_TEXT_SERVICE_H_
