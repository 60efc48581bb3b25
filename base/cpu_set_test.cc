#include "base/cpu_set.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

TEST(CpuListTest, ReadsSingleCpusAndRanges) {
  EXPECT_THAT(ParseCpuList("0"), Optional(ElementsAre(0)));
  EXPECT_THAT(ParseCpuList("0-3,8,10-11\n"), Optional(ElementsAre(0, 1, 2, 3, 8, 10, 11)));
  EXPECT_THAT(ParseCpuList("5,4-6"), Optional(ElementsAre(4, 5, 6)));
}

TEST(CpuListTest, AnEmptyListIsAList) {
  // What /sys has for a node of memory without processors.
  EXPECT_THAT(ParseCpuList("\n"), Optional(IsEmpty()));
}

TEST(CpuListTest, RefusesWhatIsNoList) {
  for (const char* text : {"x", "1-", "-1", "3-1", "1-2-3", "0,", "0-4294967295", "0-65536"}) {
    EXPECT_EQ(ParseCpuList(text), std::nullopt) << text;
  }
}

TEST(CpuListTest, WritesWhatItReads) {
  for (const char* text : {"", "7", "0-3,8,10-11", "0,2,4"}) {
    EXPECT_EQ(CpuListText(*ParseCpuList(text)), text);
  }
}

TEST(ScopedCpuPinTest, TheThreadRunsThereUntilTheEnd) {
  const std::vector<int> before = AllowedCpus();
  {
    const ScopedCpuPin pin({before.back()});
    EXPECT_THAT(AllowedCpus(), ElementsAre(before.back()));
  }
  EXPECT_EQ(AllowedCpus(), before);
}

TEST(ScopedCpuPinTest, OtherThreadsAreLeftAlone) {
  const std::vector<int> before = AllowedCpus();
  std::thread([&] {
    const ScopedCpuPin pin({before.front()});
    EXPECT_THAT(AllowedCpus(), ElementsAre(before.front()));
  }).join();
  EXPECT_EQ(AllowedCpus(), before);
}

TEST(ScopedCpuPinTest, ACpuThatIsNotThereChangesNothing) {
  const std::vector<int> before = AllowedCpus();
  for (const std::vector<int>& cpus :
       std::vector<std::vector<int>>{{}, {1023}, {5000}, {-1}, {before.front(), 5000}}) {
    const ScopedCpuPin pin(cpus);
    EXPECT_EQ(AllowedCpus(), before);
  }
}

}  // namespace
}  // namespace phalanx
