// JSON Schema for C++: the C interface of the crate beside it. Thread-safe; no call keeps what it
// is lent. Nothing is ever read from files or the network.
#ifndef PHALANX_COORDINATOR_TEXT_SCHEMA_SCHEMA_H_
#define PHALANX_COORDINATOR_TEXT_SCHEMA_SCHEMA_H_

#include <stddef.h>
#include <stdint.h>

extern "C" {

typedef struct PhalanxSchema PhalanxSchema;

enum PhalanxSchemaResult {
  kPhalanxSchemaOk = 0,
  // The schema is none, or the value is not as the schema wants it.
  kPhalanxSchemaInvalid = 1,
  // It cannot be told within the limits on time and memory.
  kPhalanxSchemaUnchecked = 2,
};

// Compiles the text of a JSON Schema. With kPhalanxSchemaOk, `*schema` is to be freed by
// phalanx_schema_free; else it is null, and the reason is written to `message`, a buffer of
// `message_bytes`, as UTF-8 that ends with a zero byte.
int32_t phalanx_schema_compile(const uint8_t* text, size_t bytes, PhalanxSchema** schema,
                               char* message, size_t message_bytes);

// Checks the text of a JSON value. The reason is written as above.
int32_t phalanx_schema_check(const PhalanxSchema* schema, const uint8_t* text, size_t bytes,
                             char* message, size_t message_bytes);

void phalanx_schema_free(PhalanxSchema* schema);

}  // extern "C"

#endif  // PHALANX_COORDINATOR_TEXT_SCHEMA_SCHEMA_H_
