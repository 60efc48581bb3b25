/* Jinja templates, rendered by the Rust crate minijinja. The C++ face is chat_template.h. */
#ifndef PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_
#define PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct PhalanxTemplate PhalanxTemplate;

/* Text owned by the Rust side; release with phalanx_text_free. */
typedef struct {
  char* data;
  size_t size;
} PhalanxText;

enum PhalanxRenderResult {
  PHALANX_RENDER_OK = 0,
  /* The template called raise_exception; the text is its message. */
  PHALANX_RENDER_RAISED = 1,
  /* It ran out of fuel or wrote more than max_bytes. */
  PHALANX_RENDER_TOO_MUCH = 2,
  /* Any other error; the text tells which. */
  PHALANX_RENDER_FAILED = 3,
};

/* Compiles UTF-8 source. Null on a syntax error, which `error` then tells. */
PhalanxTemplate* phalanx_template_new(const char* source, size_t size, PhalanxText* error);
void phalanx_template_free(PhalanxTemplate* template_);

/* Renders with the variables of a JSON object. Thread-safe. `fuel` bounds the instructions.
   Returns a PhalanxRenderResult; `text` is always set. */
int phalanx_template_render(const PhalanxTemplate* template_, const char* json, size_t json_size,
                            uint64_t fuel, size_t max_bytes, PhalanxText* text);
void phalanx_text_free(PhalanxText text);

#ifdef __cplusplus
}
#endif

#endif /* PHALANX_COORDINATOR_TEXT_JINJA_JINJA_H_ */
