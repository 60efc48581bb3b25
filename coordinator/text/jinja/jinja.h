/* The C interface of src/lib.rs: Jinja templates, rendered by the Rust crate minijinja. The C++
   face is local_jinja.h. Thread-safe but for the two that free. Nothing here bounds memory, stack
   and the time of one step: a process around it does. */
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
};

/* Writes the time of now under a strftime format; returns the length, 0 if it does not fit. */
typedef size_t (*PhalanxJinjaFormatNow)(const char* format, uint8_t* buffer, size_t size);

/* Compiles UTF-8 source of at most 256 KiB and 2048 tokens in a block; `max_steps` are those of a
   rendering. On PHALANX_JINJA_OK `compiled` is to be freed, else `error` tells why, to be freed
   too. */
int32_t phalanx_jinja_compile(const uint8_t* source, size_t size, uint64_t max_steps,
                              PhalanxJinjaFormatNow format_now, void** compiled, uint8_t** error,
                              size_t* error_size);

/* Renders with the variables of a JSON object. Returns a PhalanxJinjaCode; `result` is the text or
   the message of the error or of the template's raise_exception, to be freed. */
int32_t phalanx_jinja_render(const void* compiled, const uint8_t* context, size_t size,
                             size_t max_output, uint8_t** result, size_t* result_size);

void phalanx_jinja_free(void* compiled);
void phalanx_jinja_free_bytes(uint8_t* data, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_ */
