/* The C interface of src/lib.rs: what a grammar allows next, by the Rust crate llguidance. The C++
   faces are worker/constraint/vocabulary.h, compiler.h and constraint.h.

   A vocabulary may be used by many threads at once. Matchers that were cloned from one another
   share a lexer behind a lock, so each may be used by a thread of its own, but one matcher only by
   one thread at a time. No panic of Rust leaves a function. Whatever fails writes the reason to
   `error`, UTF-8 that is to be freed by phalanx_guidance_free_bytes. */
#ifndef PHALANX_WORKER_CONSTRAINT_GUIDANCE_GUIDANCE_H_
#define PHALANX_WORKER_CONSTRAINT_GUIDANCE_GUIDANCE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum PhalanxGuidanceCode {
  PHALANX_GUIDANCE_OK = 0,
  PHALANX_GUIDANCE_FAILED = 1,
};

/* What a token is to grammars. */
enum PhalanxGuidanceTokenUse {
  /* It stands for its bytes. */
  PHALANX_GUIDANCE_TOKEN_TEXT = 0,
  /* It is allowed only where a grammar names it: <tool_call>. */
  PHALANX_GUIDANCE_TOKEN_NAMED = 1,
  /* It is never allowed, or only where the text may end. */
  PHALANX_GUIDANCE_TOKEN_NEVER = 2,
};

enum PhalanxGuidanceKind {
  PHALANX_GUIDANCE_JSON_SCHEMA = 1, /* The text is a JSON schema. */
  PHALANX_GUIDANCE_REGEX = 2,       /* The text is a regular expression, for the whole output. */
  PHALANX_GUIDANCE_CHOICES = 3,     /* The text is a JSON array of strings. */
  PHALANX_GUIDANCE_LARK = 4,        /* The text is a grammar in llguidance's variant of Lark. */
};

/* See the struct ParserLimits of llguidance. */
struct PhalanxGuidanceLimits {
  uint64_t initial_lexer_fuel;
  uint64_t step_lexer_fuel;
  uint64_t step_max_items;
  uint64_t step_max_work; /* See patches/llguidance.patch. */
  uint64_t max_items_in_row;
  uint64_t max_lexer_states;
  uint64_t max_grammar_size;
  uint64_t max_reference_depth; /* Of a JSON schema: how many $ref lead to one another. */
};

/* `bytes` has the bytes of all tokens in a row, `sizes` and `uses` an entry for each. The text may
   end by any of `ends`. */
int32_t phalanx_guidance_new_vocabulary(const uint8_t* bytes, const uint32_t* sizes,
                                        const uint8_t* uses, size_t num_tokens,
                                        const uint32_t* ends, size_t num_ends, void** vocabulary,
                                        uint8_t** error, size_t* error_size);
void phalanx_guidance_free_vocabulary(void* vocabulary);

/* Gives a matcher at the beginning of the text. It keeps what it needs of the vocabulary. */
int32_t phalanx_guidance_compile(const void* vocabulary, int32_t kind, const uint8_t* text,
                                 size_t size, const struct PhalanxGuidanceLimits* limits,
                                 void** matcher, uint8_t** error, size_t* error_size);

/* A matcher at the same place of the text. */
void* phalanx_guidance_clone(const void* matcher);
void phalanx_guidance_free_matcher(void* matcher);

/* Sets bit `id % 32` of words[id / 32] for each token that may come next, and clears all others.
   After the end of the text these are the tokens that end it. */
int32_t phalanx_guidance_mask(void* matcher, uint32_t* words, size_t num_words, uint8_t** error,
                              size_t* error_size);

/* Goes on by a token. A token that the mask does not have makes this and all that follows fail. */
int32_t phalanx_guidance_accept(void* matcher, uint32_t token, uint8_t** error, size_t* error_size);

/* Takes back the last tokens that were accepted. */
int32_t phalanx_guidance_rollback(void* matcher, size_t num_tokens, uint8_t** error,
                                  size_t* error_size);

/* 1 if nothing but a token that ends the text may come next. */
int32_t phalanx_guidance_is_finished(const void* matcher);
/* 1 if the text may end here. */
int32_t phalanx_guidance_may_end(void* matcher);

/* The work of the last mask, accept, rollback or may_end, in the unit of step_max_work. */
uint64_t phalanx_guidance_last_work(const void* matcher);

/* Of the lexer that this matcher shares with its clones: how many states it has made so far, and
   about how many bytes they take. The largest number of states if it is of no use any more, since a
   text has met a limit. */
void phalanx_guidance_lexer_size(const void* matcher, uint64_t* states, uint64_t* bytes);

void phalanx_guidance_free_bytes(uint8_t* data, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* PHALANX_WORKER_CONSTRAINT_GUIDANCE_GUIDANCE_H_ */
