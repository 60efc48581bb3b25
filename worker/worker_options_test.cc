#include "worker/worker_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/options.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

WorkerOptions Parse(std::vector<std::string> arguments) {
  WorkerOptions options;
  CLI::App app;
  AddWorkerOptions(app, options);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return options;
}

TEST(WorkerOptionsTest, ARanksCommandLineParsesToTheSameGroup) {
  WorkerOptions leader;
  leader.model_path = "model.gguf";
  leader.tp = 3;
  leader.threads = 2;
  leader.pin = PinMode::kCores;
  leader.group_socket = "@socket";
  leader.step_timeout = absl::Milliseconds(1500);
  leader.log_format = LogFormat::kJson;
  leader.determinism = kernels::Determinism::kFast;
  leader.device = DeviceKind::kCuda;
  leader.devices = {2, 0, 5};
  leader.activations = ActivationType::kInt8;
  leader.cpu_level = "amx";
  leader.weights = WeightForm::kInt4;
  leader.kv_cache_dtype = kernels::KvDType::kFp8;
  leader.cuda_cache_dir = "/a/folder";
  const std::vector<std::string> command = RankCommand(leader, 2);
  const WorkerOptions rank = Parse({command.begin() + 1, command.end()});
  EXPECT_TRUE(CheckWorkerOptions(rank).ok());
  EXPECT_EQ(rank.rank, 2);
  EXPECT_EQ(rank.group_size(), 3);
  EXPECT_FALSE(rank.starts_ranks());
  EXPECT_TRUE(rank.supervised);
  EXPECT_EQ(rank.model_path, "model.gguf");
  EXPECT_EQ(rank.group_socket, "@socket");
  EXPECT_EQ(rank.threads, 2);
  EXPECT_EQ(rank.pin, PinMode::kCores);
  EXPECT_EQ(rank.step_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(rank.log_format, LogFormat::kJson);
  EXPECT_EQ(rank.determinism, kernels::Determinism::kFast);
  EXPECT_EQ(rank.device, DeviceKind::kCuda);
  EXPECT_EQ(rank.devices, (std::vector<int>{2, 0, 5}));
  EXPECT_EQ(rank.activations, ActivationType::kInt8);
  EXPECT_EQ(rank.cpu_level, "amx");
  EXPECT_EQ(rank.weights, WeightForm::kInt4);
  EXPECT_EQ(rank.cuda_cache_dir, "/a/folder");
  EXPECT_EQ(rank.kv_cache_dtype, kernels::KvDType::kFp8);
}

TEST(WorkerOptionsTest, TheKvCacheIsOfTheTypeThatIsGivenOrTheDevices) {
  EXPECT_EQ(Parse({"--model=m"}).kv_cache_dtype, std::nullopt);
  EXPECT_EQ(Parse({"--model=m", "--kv_cache_dtype=auto"}).kv_cache_dtype, std::nullopt);
  for (const kernels::KvDType dtype : kernels::kAllKvDTypes) {
    const std::string name = kernels::KvDTypeName(dtype);
    EXPECT_EQ(Parse({"--model=m", "--kv_cache_dtype=" + name}).kv_cache_dtype, dtype);
  }
  EXPECT_THROW(Parse({"--model=m", "--kv_cache_dtype=int4"}), CLI::ParseError);
  WorkerOptions automatic;
  automatic.model_path = "m";
  automatic.group_socket = "@socket";
  const std::vector<std::string> command = RankCommand(automatic, 0);
  EXPECT_EQ(Parse({command.begin() + 1, command.end()}).kv_cache_dtype, std::nullopt);
}

TEST(WorkerOptionsTest, ThereIsAPrefixCacheUnlessToldOtherwise) {
  EXPECT_TRUE(Parse({"--model=m"}).prefix_cache);
  EXPECT_TRUE(Parse({"--model=m", "--prefix_cache=true"}).prefix_cache);
  EXPECT_FALSE(Parse({"--model=m", "--prefix_cache=false"}).prefix_cache);
  EXPECT_THROW(Parse({"--model=m", "--prefix_cache=maybe"}), CLI::ParseError);
}

TEST(WorkerOptionsTest, TheDevicesDefaultsHoldForWhatTheCommandLineLeavesOut) {
  const StepDefaults defaults = {.max_seqs = 128, .max_step_tokens = 2048, .steps_in_flight = 2};
  const auto parse = [&](std::vector<std::string> arguments) {
    WorkerOptions options;
    CLI::App app;
    AddWorkerOptions(app, options);
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    ApplyDefaults(defaults, app, options);
    return options;
  };
  const WorkerOptions none = parse({"--model=m"});
  EXPECT_EQ(none.max_seqs, 128);
  EXPECT_EQ(none.max_step_tokens, 2048);
  EXPECT_EQ(none.steps_in_flight, 2);
  const WorkerOptions some = parse({"--model=m", "--max_seqs=32", "--steps_in_flight=1"});
  EXPECT_EQ(some.max_seqs, 32);
  EXPECT_EQ(some.max_step_tokens, 2048);
  EXPECT_EQ(some.steps_in_flight, 1);
}

TEST(WorkerOptionsTest, IsStrictUnlessToldOtherwise) {
  EXPECT_EQ(Parse({"--model=m"}).determinism, kernels::Determinism::kStrict);
  EXPECT_EQ(Parse({"--model=m", "--determinism=strict"}).determinism,
            kernels::Determinism::kStrict);
  EXPECT_EQ(Parse({"--model=m", "--determinism=fast"}).determinism, kernels::Determinism::kFast);
}

TEST(WorkerOptionsTest, RefusesAStallTimeoutThatNoRankCanKeep) {
  WorkerOptions options;
  EXPECT_EQ(options.stall_timeout, absl::Milliseconds(2500));
  options.stall_timeout = absl::Milliseconds(99);
  EXPECT_FALSE(CheckWorkerOptions(options).ok());
  options.stall_timeout = absl::Milliseconds(100);
  EXPECT_TRUE(CheckWorkerOptions(options).ok());
}

TEST(WorkerOptionsTest, RefusesContradictions) {
  WorkerOptions options;
  options.world = 2;
  EXPECT_FALSE(CheckWorkerOptions(options).ok()) << "no socket";
  options.group_socket = "/tmp/socket";
  EXPECT_TRUE(CheckWorkerOptions(options).ok());
  options.rank = 2;
  EXPECT_FALSE(CheckWorkerOptions(options).ok()) << "rank not below world";
  options.rank = 1;
  options.max_step_tokens = options.max_seqs - 1;
  EXPECT_FALSE(CheckWorkerOptions(options).ok()) << "no token for each request";
}

TEST(WorkerOptionsTest, RanksOfSeveralHostsHaveTheirHostsToThemselves) {
  WorkerOptions options = Parse({"--model=m", "--world=3", "--rank=2", "--leader=host-0.group:7010",
                                 "--rank_tls_cert=c", "--rank_tls_key=k", "--rank_tls_ca=a",
                                 "--metrics_listen=[::]:65535"});
  EXPECT_EQ(CheckWorkerOptions(options), absl::OkStatus());
  EXPECT_TRUE(options.over_hosts());
  EXPECT_EQ(options.rank_links.leader.ToString(), "host-0.group:7010");
  EXPECT_EQ(RankMetricsAddress(options, 2).port, 65535);
  EXPECT_EQ(GroupListenAddress(options.rank_links).ToString(), "[::]:7010");
  const int all = ThreadsPerRank(options);
  options.world = 1;
  EXPECT_EQ(ThreadsPerRank(options), all);
  options.group_socket = "@both";
  EXPECT_FALSE(CheckWorkerOptions(options).ok());
}

TEST(WorkerOptionsTest, EachRankHasAMetricsPortOfItsOwn) {
  WorkerOptions options;
  options.metrics_listen = {"::1", 9000};
  EXPECT_EQ(RankMetricsAddress(options, 2).ToString(), "[::1]:9002");
  options.metrics_listen = {"127.0.0.1", 0};
  EXPECT_EQ(RankMetricsAddress(options, 2).ToString(), "127.0.0.1:0");
}

TEST(WorkerOptionsTest, EveryRanksMetricsPortMustExist) {
  WorkerOptions options;
  options.tp = 3;
  options.metrics_listen = {"127.0.0.1", 65533};
  EXPECT_TRUE(CheckWorkerOptions(options).ok());
  options.metrics_listen.port = 65534;
  EXPECT_EQ(CheckWorkerOptions(options).message(),
            "--metrics_listen 127.0.0.1:65534 leaves no port for 3 ranks: the last one's would be "
            "65536, above 65535");
}

TEST(WorkerOptionsTest, AddressesAreCheckedWhenTheyAreParsed) {
  EXPECT_EQ(Parse({"--model=m", "--listen=[::]:1"}).listen.ToString(), "[::]:1");
  for (const char* flag : {"--listen", "--metrics_listen"}) {
    for (const char* bad :
         {"", "localhost", "localhost:", "localhost:70000", "::1:80", "unix:/a"}) {
      EXPECT_THROW(Parse({"--model=m", absl::StrCat(flag, "=", bad)}), CLI::ParseError) << bad;
    }
  }
}

TEST(WorkerOptionsTest, TheKvCacheMustHoldOneContext) {
  WorkerOptions options;
  ModelSpec spec;
  spec.context_tokens = 100;
  options.kv_cache_tokens = 111;
  EXPECT_EQ(MakeStepLimits(options, spec)->kv_blocks, 7);
  options.kv_cache_tokens = 96;
  EXPECT_EQ(MakeStepLimits(options, spec).status().code(), absl::StatusCode::kInvalidArgument);
  options.context_tokens = 96;
  ASSERT_TRUE(LimitContext(options, spec).ok());
  EXPECT_EQ(MakeStepLimits(options, spec)->max_blocks_per_seq, 6);
  options.context_tokens = 97;
  EXPECT_FALSE(LimitContext(options, spec).ok());
}

TEST(WorkerOptionsTest, ContextsAreAsLongAsTheKvCacheHoldsUnlessAskedFor) {
  WorkerOptions options;
  options.kv_cache_tokens = 1600;
  ModelSpec spec;
  spec.context_tokens = 131072;
  ASSERT_TRUE(LimitContext(options, spec).ok());
  EXPECT_EQ(spec.context_tokens, 1600);
  spec.context_tokens = 1000;
  ASSERT_TRUE(LimitContext(options, spec).ok());
  EXPECT_EQ(spec.context_tokens, 1000);
}

}  // namespace
}  // namespace phalanx
