// The main of tests whose program is also that of the processes that check constraints.
#include "gtest/gtest.h"
#include "worker/constraint/constraint_check.h"

int main(int argc, char** argv) {
  if (const auto exit_code = phalanx::RunConstraintCheckIfAsked(argc, argv)) return *exit_code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
