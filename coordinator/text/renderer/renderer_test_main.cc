// main for tests whose program is also that of the processes it starts.
#include "coordinator/text/renderer/render_loop.h"
#include "gtest/gtest.h"

// What an address sanitizer keeps of freed memory would count as the renderers'. And when memory
// ends, it waits for itself while it reports that: it is to fail the allocation, as without it.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer looks for this name.
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=1:thread_local_quarantine_size_kb=0:allocator_may_return_null=1";
}

int main(int argc, char** argv) {
  if (const auto exit_code = phalanx::RunRendererIfAsked(argc, argv)) return *exit_code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
