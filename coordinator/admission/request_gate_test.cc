#include "coordinator/admission/request_gate.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(RequestGateTest, RefusesWhatIsAboveTheLimitUntilATicketComesBack) {
  RequestGate gate(2);
  std::optional<RequestGate::Ticket> first(*gate.Enter());
  const auto second = gate.Enter();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(gate.Enter().status().code(), absl::StatusCode::kResourceExhausted);

  first.reset();

  EXPECT_EQ(gate.in_flight(), 1);
  EXPECT_TRUE(gate.Enter().ok());
}

TEST(RequestGateTest, AMovedTicketCountsOnce) {
  RequestGate gate(1);
  {
    RequestGate::Ticket ticket = *gate.Enter();
    const RequestGate::Ticket moved = std::move(ticket);
    EXPECT_EQ(gate.in_flight(), 1);
  }
  EXPECT_EQ(gate.in_flight(), 0);
}

TEST(RequestGateTest, ClosingAnIdleGateReportsAtOnce) {
  RequestGate gate(1);
  bool idle = false;
  gate.Close([&] { idle = true; });
  EXPECT_TRUE(idle);
  EXPECT_EQ(gate.Enter().status().code(), absl::StatusCode::kUnavailable);
}

TEST(RequestGateTest, ClosingABusyGateReportsWhenTheLastTicketComesBack) {
  RequestGate gate(2);
  std::optional<RequestGate::Ticket> first(*gate.Enter());
  std::optional<RequestGate::Ticket> second(*gate.Enter());
  int reports = 0;
  gate.Close([&] { ++reports; });
  first.reset();
  EXPECT_EQ(reports, 0);
  second.reset();
  EXPECT_EQ(reports, 1);
}

TEST(RequestGateTest, NeverLetsMoreInThanTheLimitAcrossThreads) {
  RequestGate gate(3);
  std::atomic<int> inside = 0;
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const auto ticket = gate.Enter();
        if (!ticket.ok()) continue;
        if (++inside > 3) over = true;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(over);
  EXPECT_EQ(gate.in_flight(), 0);
}

}  // namespace
}  // namespace phalanx
