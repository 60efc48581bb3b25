// main for tests whose program is also that of the processes it starts.
#include "coordinator/text/renderer/render_loop.h"
#include "gtest/gtest.h"

int main(int argc, char** argv) {
  if (const auto exit_code = phalanx::RunRendererIfAsked(argc, argv)) return *exit_code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
