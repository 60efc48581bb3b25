#include "kernels/cpu/cpu_level.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_facts.h"

namespace phalanx::kernels {
namespace {

constexpr uint64_t kKeepsAvx = 0x7;
constexpr uint64_t kKeepsAvx512 = 0xe7;
constexpr uint64_t kKeepsTiles = 0x602e7;

// Registers as processors of these kinds have them, with all that has nothing to do with us set.
CpuRegisters Haswell() {
  return {.leaf1_ecx = 0x7ffafbff, .leaf7_ebx = 0x000027ab, .xcr0 = kKeepsAvx};
}
CpuRegisters AlderLake() {
  CpuRegisters registers = Haswell();
  registers.leaf7_1_eax = 1u << 4;
  return registers;
}
CpuRegisters Zen4() {
  return {.leaf1_ecx = 0x7ef8320b,
          .leaf7_ebx = 0xf1bf97a9,
          .leaf7_ecx = 0x00405fce,
          .leaf7_edx = 0x10000010,
          .leaf7_1_eax = 0x20,
          .xcr0 = kKeepsAvx512};
}
CpuRegisters SapphireRapids() {
  CpuRegisters registers = Zen4();
  registers.leaf7_edx = 0xffdd4432;
  registers.leaf7_1_eax = 0x1c30;
  registers.xcr0 = kKeepsTiles;
  return registers;
}

absl::Status Allow() { return absl::OkStatus(); }
absl::Status Refuse() { return absl::FailedPreconditionError("a sandbox"); }
absl::Status NotToBeAsked() {
  ADD_FAILURE() << "was asked for tiles";
  return absl::OkStatus();
}

std::string Best(const CpuRegisters& registers) {
  const auto chosen = ChooseCpuLevel(CpuLevel::kBest, FactsOf(registers), Allow);
  return chosen.ok() ? CpuLevelName(chosen->level) + chosen->note : chosen.status().ToString();
}

TEST(ParseCpuLevelTest, KnowsTheNamesAndTellsThemWhereThereIsAnother) {
  EXPECT_EQ(*ParseCpuLevel("auto"), CpuLevel::kBest);
  for (const CpuLevel level : kAllCpuLevels) EXPECT_EQ(*ParseCpuLevel(CpuLevelName(level)), level);
  EXPECT_EQ(ParseCpuLevel("AVX2").status().message(),
            "\"AVX2\" is none of auto, portable, avx2, avx2_vnni, avx512_vnni and amx");
}

TEST(ChooseCpuLevelTest, TakesTheBestThatTheProcessorHas) {
  EXPECT_EQ(Best({}), "portable");
  EXPECT_EQ(Best(Haswell()), "avx2");
  EXPECT_EQ(Best(AlderLake()), "avx2_vnni");
  EXPECT_EQ(Best(Zen4()), "avx512_vnni");
  EXPECT_EQ(Best(SapphireRapids()), "amx");
}

// The registers of instructions are lost at every switch of threads where the system does not keep
// them.
TEST(ChooseCpuLevelTest, LeavesOutWhatTheSystemDoesNotKeep) {
  CpuRegisters registers = SapphireRapids();
  registers.xcr0 = kKeepsTiles & ~uint64_t{0x20000};
  EXPECT_EQ(Best(registers), "avx512_vnni");
  registers.xcr0 = kKeepsAvx512 & ~uint64_t{0x80};
  EXPECT_EQ(Best(registers), "avx2_vnni");
  registers.xcr0 = 0x3;
  EXPECT_EQ(Best(registers), "portable");
}

TEST(ChooseCpuLevelTest, EveryInstructionOfALevelIsNeeded) {
  const auto facts = [](bool CpuFacts::*lacks) {
    CpuFacts all = FactsOf(SapphireRapids());
    all.*lacks = false;
    return all;
  };
  const auto level = [](const CpuFacts& facts) {
    return ChooseCpuLevel(CpuLevel::kBest, facts, Allow)->level;
  };
  for (const auto lacks : {&CpuFacts::avx2, &CpuFacts::fma, &CpuFacts::f16c}) {
    EXPECT_EQ(level(facts(lacks)), CpuLevel::kPortable);
  }
  for (const auto lacks : {&CpuFacts::avx512f, &CpuFacts::avx512bw, &CpuFacts::avx512dq,
                           &CpuFacts::avx512vl, &CpuFacts::avx512_vnni}) {
    EXPECT_EQ(level(facts(lacks)), CpuLevel::kAvx2Vnni);
  }
  for (const auto lacks :
       {&CpuFacts::avx512_bf16, &CpuFacts::amx_tile, &CpuFacts::amx_int8, &CpuFacts::amx_bf16}) {
    EXPECT_EQ(level(facts(lacks)), CpuLevel::kAvx512Vnni);
  }
}

TEST(ChooseCpuLevelTest, NamesWhatIsMissingForALevel) {
  const CpuFacts zen4 = FactsOf(Zen4());
  EXPECT_EQ(ChooseCpuLevel(CpuLevel::kAmx, zen4, NotToBeAsked).status(),
            absl::InvalidArgumentError("this machine lacks AMX-TILE, AMX-INT8, AMX-BF16"));
  EXPECT_EQ(ChooseCpuLevel(CpuLevel::kAvx2Vnni, zen4, NotToBeAsked).status(),
            absl::InvalidArgumentError("this machine lacks AVX-VNNI"));
  EXPECT_EQ(ChooseCpuLevel(CpuLevel::kAvx2, {}, NotToBeAsked).status(),
            absl::InvalidArgumentError("this machine lacks AVX2, FMA, F16C"));
}

TEST(ChooseCpuLevelTest, WithoutThePermissionForTilesTheBestIsTheNextOne) {
  const CpuFacts facts = FactsOf(SapphireRapids());
  const auto best = ChooseCpuLevel(CpuLevel::kBest, facts, Refuse);
  ASSERT_TRUE(best.ok()) << best.status();
  EXPECT_EQ(best->level, CpuLevel::kAvx512Vnni);
  EXPECT_EQ(best->note, "not amx: a sandbox");
  EXPECT_EQ(ChooseCpuLevel(CpuLevel::kAmx, facts, Refuse).status(),
            absl::FailedPreconditionError("a sandbox"));
  EXPECT_EQ(ChooseCpuLevel(CpuLevel::kAmx, facts, Allow)->level, CpuLevel::kAmx);
}

TEST(ChooseCpuLevelTest, TilesAreAskedForOnlyWhereTheyAreUsed) {
  for (const CpuLevel level : {CpuLevel::kPortable, CpuLevel::kAvx2, CpuLevel::kAvx512Vnni}) {
    const auto chosen = ChooseCpuLevel(level, FactsOf(SapphireRapids()), NotToBeAsked);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    EXPECT_EQ(chosen->level, level);
    EXPECT_EQ(chosen->note, "");
  }
  EXPECT_TRUE(ChooseCpuLevel(CpuLevel::kBest, FactsOf(Zen4()), NotToBeAsked).ok());
}

// Levels of this machine, as far as the compiler's own function knows their instructions.
TEST(ReadCpuFactsTest, AgreesWithTheCompiler) {
#if defined(__x86_64__)
  const CpuFacts facts = ReadCpuFacts();
  EXPECT_EQ(facts.avx2, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(facts.fma, __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ(facts.avx512f, __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ(facts.avx512bw, __builtin_cpu_supports("avx512bw") != 0);
  EXPECT_EQ(facts.avx512dq, __builtin_cpu_supports("avx512dq") != 0);
  EXPECT_EQ(facts.avx512vl, __builtin_cpu_supports("avx512vl") != 0);
  EXPECT_EQ(facts.avx512_vnni, __builtin_cpu_supports("avx512vnni") != 0);
  EXPECT_EQ(facts.avx512_bf16, __builtin_cpu_supports("avx512bf16") != 0);
#else
  GTEST_SKIP() << "this processor is no x86-64";
#endif
}

}  // namespace
}  // namespace phalanx::kernels
