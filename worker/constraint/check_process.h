// What the two sides of constraint_check.h say to each other, over a socket.
#ifndef PHALANX_WORKER_CONSTRAINT_CHECK_PROCESS_H_
#define PHALANX_WORKER_CONSTRAINT_CHECK_PROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "worker/constraint/constraint_source.h"

namespace phalanx {

// The only argument of a process that checks.
inline constexpr char kCheckConstraintArgument[] = "--internal_check_constraint";

// Both sides are the same program, so the memory of these structs is what is sent. After the
// request come the text of the source and the named tokens, one a line; after the answer its
// message. Each request has one answer, and one is asked at a time.
struct CheckRequest {
  ConstraintKind kind{};
  uint64_t text_bytes = 0;
  uint64_t named_tokens_bytes = 0;
  int64_t max_cpu_us = 0;
  // Without max_text_bytes, which the sender has checked, and max_cpu_time.
  uint64_t max_memory_bytes = 0;
  uint64_t max_reference_depth = 0;
  uint64_t max_grammar_size = 0;
  uint64_t initial_lexer_fuel = 0;
  uint64_t step_lexer_fuel = 0;
  uint64_t step_max_items = 0;
  uint64_t step_max_work = 0;
  uint64_t max_items_in_row = 0;
  uint64_t max_lexer_states = 0;
  pid_t parent = 0;
};

struct CheckAnswer {
  // How the process that tried it ended, as of waitpid; if it exited with 0, there is a verdict.
  int wait_status = 0;
  uint8_t ok = 0;
  uint64_t message_bytes = 0;
  // What the check cost: processor time of both processes, and the largest memory of the one that
  // tried it.
  int64_t cpu_us = 0;
  int64_t memory_bytes = 0;
};

// False if the other side has ended, or does not take or give anything within the time that is set
// for the socket.
bool SendBytes(int socket, const void* data, size_t size);
bool ReceiveBytes(int socket, void* data, size_t size);

// The whole life of a process that checks: tries each constraint that it is asked about over
// `socket` in a copy of itself. Returns its exit code after the other side has closed the socket.
int RunCheckProcess(int socket);

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CHECK_PROCESS_H_
