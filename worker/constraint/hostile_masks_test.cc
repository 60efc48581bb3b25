// What is accepted costs little while its text is written, with a vocabulary of 200,064 tokens.
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/text/tokenizer_assets_hf.h"
#include "worker/constraint/constraint.h"
#include "worker/constraint/testing/hostile_constraints.h"

namespace phalanx {
namespace {

constexpr int kVocab = 200'064;
constexpr int kMaxTokens = 60;
// The parser looks at its budget after each row of states that it went through, and each of these
// has ConstraintLimits::max_items_in_row states and more of them before that is checked.
constexpr uint64_t kSlack = 200'000;

double Milliseconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

// One that the mask allows; the longest of a few, since long tokens take the parser far.
int32_t Draw(const std::vector<uint32_t>& mask, const ConstraintVocabulary& vocabulary,
             std::mt19937& random) {
  std::vector<int32_t> allowed;
  for (int32_t id = 0; id < vocabulary.vocab(); ++id) {
    if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
  }
  int32_t drawn = allowed[random() % allowed.size()];
  for (int i = 0; i < 3; ++i) {
    const int32_t other = allowed[random() % allowed.size()];
    if (vocabulary.TextOf(other).size() > vocabulary.TextOf(drawn).size()) drawn = other;
  }
  return drawn;
}

struct Worst {
  uint64_t work = 0;
  double milliseconds = 0;
};

// Writes a text at random and tells how it ended.
absl::Status Write(Constraint& constraint, std::mt19937& random, Worst* worst) {
  std::vector<uint32_t> mask(static_cast<size_t>(constraint.vocabulary().mask_words()));
  const auto note = [&](double begin) {
    worst->milliseconds = std::max(worst->milliseconds, Milliseconds() - begin);
    worst->work = std::max(worst->work, constraint.last_work());
  };
  for (int i = 0; i < kMaxTokens && !constraint.finished(); ++i) {
    double begin = Milliseconds();
    absl::Status status = constraint.Mask(absl::MakeSpan(mask));
    note(begin);
    if (!status.ok()) return status;
    const int32_t token = Draw(mask, constraint.vocabulary(), random);
    begin = Milliseconds();
    status = constraint.Accept(token);
    note(begin);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

TEST(HostileMasksTest, OneTokenTakesNoMoreThanItsWork) {
  std::string folder = std::getenv("PHI4_MINI");
  folder.resize(folder.rfind('/'));
  const auto vocabulary =
      *ConstraintVocabulary::Create(*ReadTokenizerAssets(folder, kVocab), kVocab);
  const ConstraintLimits limits;
  Worst worst;
  for (const HostileConstraint& hostile : HostileConstraints()) {
    if (hostile.refused) continue;
    Worst own;
    std::mt19937 random(1);
    auto constraint = Constraint::Compile(vocabulary, hostile.source, limits);
    absl::Status status = constraint.status();
    if (status.ok()) status = Write(**constraint, random, &own);
    // It may turn out to be too much, which then is the fault of this request alone.
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    std::cout << hostile.name << ": worst " << own.work << ", " << own.milliseconds << " ms, "
              << status.ToString().substr(0, 120) << "\n";
    EXPECT_LE(own.work, limits.step_max_work + kSlack) << hostile.name;
    worst = {std::max(worst.work, own.work), std::max(worst.milliseconds, own.milliseconds)};
  }
  std::cout << "worst " << worst.work << ", " << worst.milliseconds << " ms\n";
}

}  // namespace
}  // namespace phalanx
