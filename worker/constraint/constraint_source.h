// What a caller writes to constrain a text, and the limits of that.
#ifndef PHALANX_WORKER_CONSTRAINT_CONSTRAINT_SOURCE_H_
#define PHALANX_WORKER_CONSTRAINT_CONSTRAINT_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace phalanx {

enum class ConstraintKind : uint8_t {
  kJsonSchema,  // A JSON schema.
  kRegex,       // A regular expression, which the whole text matches.
  kChoices,     // A JSON array of strings, one of which is the text.
  kLark,        // A grammar in llguidance's variant of Lark; its rule `start` is the text.
};

// Where a constrained answer begins among the tokens that are drawn.
enum class AnswerBegin : uint8_t {
  kAtOnce,            // With the first one.
  kAfterThinkBlock,   // With the first one, or after a think block that begins there.
  kInsideThinkBlock,  // After "</think>": the prompt has opened the block.
};

struct ConstraintSource {
  ConstraintKind kind = ConstraintKind::kJsonSchema;
  std::string text;

  friend bool operator==(const ConstraintSource&, const ConstraintSource&) = default;
};

// docs/constraints.md tells what they mean to callers.
struct ConstraintLimits {
  size_t max_text_bytes = 64 << 10;
  // What one compilation may take, measured in a process of its own, see ConstraintChecker. The
  // kernel looks when it ticks, every 10 ms at worst, and then frees the memory: it is over before
  // 100 ms.
  absl::Duration max_cpu_time = absl::Milliseconds(60);
  size_t max_memory_bytes = size_t{64} << 20;
  // Of a JSON schema: how many references may lead to one another.
  uint64_t max_reference_depth = 100;
  // Symbols in the rules of a grammar.
  uint64_t max_grammar_size = 100'000;
  // Work on regular expressions, in nodes: before the first token, and for one mask.
  uint64_t initial_lexer_fuel = 200'000;
  uint64_t step_lexer_fuel = 50'000;
  // States of the parser: in all for one mask, and after one byte.
  uint64_t step_max_items = 20'000;
  uint64_t max_items_in_row = 2'000;
  // All work for one mask, or to go on by one token: states of the parser that are looked at,
  // tokens and regular expressions, in units of 0.2 to 0.5 ns. Beyond it, the text fails.
  uint64_t step_max_work = 10'000'000;
  // States of the lexer, 1 to 2 KB each, that one constraint may have made in all of its texts.
  uint64_t max_lexer_states = 20'000;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CONSTRAINT_SOURCE_H_
