// That the suite covers every op of op_list.h on every backend, and on which backends it has run.
#include <cstdio>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {
namespace {

// "suite/name" of every test of this program, for example
// "AllBackends/EmbedTest.TakesItsPartOfTheVocabulary/Reference".
std::set<std::string> TestNames() {
  std::set<std::string> names;
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int s = 0; s < all.total_test_suite_count(); ++s) {
    const testing::TestSuite& suite = *all.GetTestSuite(s);
    for (int t = 0; t < suite.total_test_count(); ++t) {
      names.insert(std::string(suite.name()) + "." + suite.GetTestInfo(t)->name());
    }
  }
  return names;
}

// OpTest makes each of these tests show that it calls its op.
TEST(OpSuiteTest, EveryOpHasTestsOnEveryBackend) {
  const std::set<std::string> names = TestNames();
  for (const Op op : kAllOps) {
    for (const BackendUnderTest& backend : AllBackends()) {
      const std::string suite = std::string("AllBackends/") + OpName(op) + "Test.";
      const std::string parameter = std::string("/") + backend.name;
      int tests = 0;
      for (const std::string& name : names) {
        tests += name.compare(0, suite.size(), suite) == 0 && name.size() > parameter.size() &&
                 name.compare(name.size() - parameter.size(), parameter.size(), parameter) == 0;
      }
      EXPECT_GT(tests, 0) << OpName(op) << " has no test on " << backend.name;
    }
  }
}

TEST(OpSuiteTest, TellsWhichBackendsItRunsOn) {
  int ran = 0;
  for (const BackendUnderTest& backend : AllBackends()) {
    const auto made = backend.make();
    std::printf("%-20s %s\n", backend.name,
                made.ok() ? ("ran: " + (*made)->Describe()).c_str()
                          : ("skipped: " + made.status().ToString()).c_str());
    ran += made.ok();
  }
  EXPECT_GT(ran, 0) << "no backend of this program runs on this machine";
}

}  // namespace
}  // namespace phalanx::kernels
