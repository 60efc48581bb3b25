// The main of tests whose program is also that of the processes it starts.
#include "coordinator/text/renderer/render_loop.h"
#include "gtest/gtest.h"

// Options of the sanitizers, for the tests and for the processes they start, so that the limits of
// these are met as without sanitizers. The sanitizers look for these functions by name in the
// program itself and in no shared library, so the library of this file is linked statically.
//
// - A stack that overflows ends the process by SIGSEGV, not with a report.
// - AddressSanitizer keeps back little freed memory, instead of 256 MiB, because that counts as the
//   process's.
// - Where memory ends, an allocation fails. AddressSanitizer's own report needs memory and can wait
//   for ever.
//
// NOLINTBEGIN(bugprone-reserved-identifier): the names are the sanitizers'.
extern "C" const char* __asan_default_options() {
  return "handle_segv=0:quarantine_size_mb=1:allocator_may_return_null=1";
}
extern "C" const char* __ubsan_default_options() { return "handle_segv=0"; }
// NOLINTEND(bugprone-reserved-identifier)

int main(int argc, char** argv) {
  if (const auto exit_code = phalanx::RunRendererIfAsked(argc, argv)) return *exit_code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
