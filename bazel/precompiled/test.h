// For tests.
#ifndef PHALANX_BAZEL_PRECOMPILED_TEST_H_
#define PHALANX_BAZEL_PRECOMPILED_TEST_H_

#include "bazel/precompiled/system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#endif  // PHALANX_BAZEL_PRECOMPILED_TEST_H_
