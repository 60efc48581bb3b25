#include "client/top_view.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using worker::v1::DumpStateResponse;
using worker::v1::RankState;
using worker::v1::RequestState;

DumpStateResponse Busy() {
  DumpStateResponse state;
  state.set_model_name("tiny\x1b[2J");
  state.set_world(2);
  state.set_running_requests(2);
  state.set_waiting_requests(3);
  RequestState& first = *state.add_requests();
  first.set_request_id(7);
  first.set_phase(RequestState::PHASE_DECODING);
  first.set_age_seconds(12.34);
  first.set_prompt_tokens(100);
  first.set_computed_tokens(120);
  first.set_generated_tokens(21);
  first.set_kv_blocks(8);
  first.set_cached_tokens(48);
  RequestState& second = *state.add_requests();
  second.set_request_id(9);
  second.set_phase(RequestState::PHASE_PREFILLING);
  second.set_age_seconds(7260);
  second.set_score(true);
  state.mutable_blocks()->set_total(64);
  state.mutable_blocks()->set_used(16);
  state.mutable_blocks()->set_block_tokens(16);
  state.mutable_steps()->set_in_flight(1);
  state.mutable_steps()->set_ended(5);
  state.mutable_steps()->set_last_seconds(0.0125);
  state.mutable_steps()->set_last_tokens(8);
  state.mutable_steps()->set_last_sequences(1);
  state.mutable_steps()->set_age_seconds(0.004);
  state.mutable_steps()->set_computed_tokens_per_second(812);
  state.mutable_steps()->set_generated_tokens_per_second(47.25);
  state.mutable_totals()->set_cache_queried_tokens(200);
  state.mutable_totals()->set_cache_hit_tokens(50);
  state.mutable_totals()->set_preemptions(1);
  RankState& leader = *state.add_ranks();
  leader.set_phase(RankState::PHASE_READY);
  leader.set_process_id(4711);
  leader.set_host("a\x1b[2J");
  leader.set_step_seconds(0.0125);
  leader.set_comm_seconds(0.004);
  leader.set_weight_bytes(int64_t{95} << 20);
  leader.set_kv_cache_bytes(int64_t{180} << 20);
  leader.set_resident_bytes(int64_t{12} << 30);
  RankState& silent = *state.add_ranks();
  silent.set_rank(1);
  silent.set_phase(RankState::PHASE_LOST);
  silent.set_process_id(4712);
  silent.set_heartbeat_age_seconds(3.2);
  silent.set_step_seconds(0.0125);
  silent.set_comm_seconds(0.001);
  silent.set_lag_seconds(0.003);
  return state;
}

TEST(TopViewTest, TextHasTotalsAndTablesOfRanksAndRequests) {
  EXPECT_EQ(TopText("h:1", Busy()),
            "worker    h:1  tiny?[2J  2 ranks\n"
            "requests  2 running, 3 waiting\n"
            "tokens/s  812 computed, 47.2 generated (last 10 s)\n"
            "steps     5 ended; the last took 12.5ms for 8 tokens of 1 sequence; 1 in flight for "
            "4.0ms\n"
            "blocks    16 of 64 used (25.0 %), 0 cached; of 16 tokens\n"
            "cache     had 50 of 200 prompt tokens (25.0 %); 1 preemption\n"
            "\n"
            "RANK  STATE      PROCESS  HEARTBEAT      STEP      COMM       LAG   WEIGHTS  KV CACHE "
            "   MEMORY  HOST\n"
            "   0  ready         4711      0.0ms    12.5ms     4.0ms     0.0ms       95M      180M "
            "    12.0G  a?[2J\n"
            "   1  lost          4712       3.2s    12.5ms     1.0ms     3.0ms        0M        0M "
            "       0M  \n"
            "\n"
            "   REQUEST  STATE            AGE    PROMPT    CACHED  COMPUTED  GENERATED  BLOCKS\n"
            "         7  decoding       12.3s       100        48       120         21       8\n"
            "         9  prefilling     2h01m         0         0         0      score       0\n"
            "and 3 more\n");
}

TEST(TopViewTest, AnIdleWorkerHasNoTable) {
  DumpStateResponse state;
  state.set_world(1);
  const std::string text = TopText("h:1", state);
  EXPECT_THAT(text, HasSubstr("1 rank\n"));
  EXPECT_THAT(text, HasSubstr("none has ended yet"));
  EXPECT_THAT(text, Not(HasSubstr("REQUEST")));
  EXPECT_THAT(text, Not(HasSubstr("HEARTBEAT")));
}

TEST(TopViewTest, JsonIsOneLineWithAllFields) {
  const std::string text = TopJson("h:1", Busy());
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["worker"], "h:1");
  EXPECT_EQ(json["requests"][0]["state"], "decoding");
  EXPECT_EQ(json["requests"][0]["generated_tokens"], 21);
  EXPECT_EQ(json["requests"][1]["score"], true);
  EXPECT_EQ(json["steps"]["last_seconds"], 0.0125);
  EXPECT_EQ(json["blocks"]["used"], 16);
  EXPECT_EQ(json["totals"]["cache_hit_tokens"], 50);
  EXPECT_EQ(json["ranks"][0]["state"], "ready");
  EXPECT_EQ(json["ranks"][0]["resident_bytes"], int64_t{12} << 30);
  EXPECT_EQ(json["ranks"][1]["rank"], 1);
  EXPECT_EQ(json["ranks"][1]["lag_seconds"], 0.003);
}

}  // namespace
}  // namespace phalanx
