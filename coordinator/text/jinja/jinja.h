/* The C interface of src/lib.rs: Jinja templates, rendered by the Rust crate minijinja. The C++
   face is chat_template.h. Thread-safe but for the two that free. */
#ifndef PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_
#define PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum PhalanxJinjaCode {
  PHALANX_JINJA_OK = 0,
  PHALANX_JINJA_FAILED = 1,
  /* The template called raise_exception; the result is its message. */
  PHALANX_JINJA_RAISED = 2,
  /* It took more than its limits or wrote more than its bytes. */
  PHALANX_JINJA_EXHAUSTED = 3,
};

/* Of each rendering; the last two of compiling too. */
struct PhalanxJinjaLimits {
  uint64_t steps;
  /* Of all that the template makes and holds; the context and the output do not count. Renderings
     whose values are never freed, because they hold each other, keep no more than this in all,
     before further ones are refused. Each call has a thread with a stack of some eight times as
     much, of which it uses what it needs. */
  uint64_t memory_bytes;
  /* Looked at whenever memory is allocated: a step that takes none is not cut short. */
  uint64_t milliseconds;
};

/* Writes the time of now under a strftime format; returns the length, 0 if it does not fit. */
typedef size_t (*PhalanxJinjaFormatNow)(const char* format, uint8_t* buffer, size_t size);

/* Compiles UTF-8 source of at most 256 KiB and 2048 tokens in a block. On PHALANX_JINJA_OK
   `compiled` is to be freed, else `error` tells why, to be freed too. */
int32_t phalanx_jinja_compile(const uint8_t* source, size_t size,
                              const struct PhalanxJinjaLimits* limits,
                              PhalanxJinjaFormatNow format_now, void** compiled, uint8_t** error,
                              size_t* error_size);

/* Renders with the variables of a JSON object. Returns a PhalanxJinjaCode; `result` is the text or
   the message of the error, to be freed. */
int32_t phalanx_jinja_render(const void* compiled, const uint8_t* context, size_t size,
                             size_t max_output, uint8_t** result, size_t* result_size);

void phalanx_jinja_free(void* compiled);
void phalanx_jinja_free_bytes(uint8_t* data, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_ */
