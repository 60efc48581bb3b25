// How long an all-reduce takes, by transport and size, as one table:
//
//   comm_bench [--world=2] [--max_bytes=16777216] [--spin=50us]
//
// Ranks are threads, each on a core of its own as long as there are enough; without that, the table
// says so. They call one all-reduce of float32 after the other, and rank 0 takes the time of each.
// NCCL is not in it: it needs a GPU for each rank.
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/options.h"
#include "kernels/reference/reference_backend.h"
#include "worker/comm/net_communicator_factory.h"
#include "worker/comm/shm_communicator.h"
#include "worker/comm/shm_communicator_factory.h"
#include "worker/comm/testing/factory_group.h"
#include "worker/net/testing/certificates.h"

namespace phalanx {
namespace {

// 2304 and 12288 are a row of SmolLM2 and of Phi-4-mini in float32: what a decode step of one
// sequence sums.
constexpr int64_t kSizes[] = {64,       256,      1 << 10,   2304,    4 << 10, 12288,
                              16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20};
constexpr char kLoopback[] = "127.0.0.1";

using Group = std::vector<std::unique_ptr<Communicator>>;

struct Transport {
  const char* name;
  std::function<Group(int world)> make_group;
};

// The cores that this process may use.
std::vector<int> AllowedCores() {
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void PinTo(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

// Enough for a 99th percentile of small messages, and for a time that one waits for with long ones.
int Calls(int64_t bytes) {
  return static_cast<int>(std::clamp<int64_t>((256 << 20) / bytes, 60, 20'000));
}

struct Percentiles {
  double p50_us = 0;
  double p99_us = 0;
};

Percentiles PercentilesOf(std::vector<double> microseconds) {
  std::sort(microseconds.begin(), microseconds.end());
  return {.p50_us = microseconds[microseconds.size() / 2],
          .p99_us = microseconds[microseconds.size() * 99 / 100]};
}

// One rank's calls; how long each took, in microseconds.
std::vector<double> TimeCalls(Communicator& comm, int64_t bytes) {
  const auto backend = kernels::MakeReferenceBackend();
  const auto stream = backend->NewStream();
  std::vector<float> data(bytes / sizeof(float));
  const kernels::Tensor tensor = {data.data(), kernels::DType::kF32, 1,
                                  static_cast<int64_t>(data.size())};
  for (int i = 0; i < Calls(bytes) / 10; ++i) CHECK_OK(comm.AllReduceSum(*stream, tensor));
  std::vector<double> times;
  times.reserve(Calls(bytes));
  for (int i = 0; i < Calls(bytes); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    CHECK_OK(comm.AllReduceSum(*stream, tensor));
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    times.push_back(time.count());
  }
  return times;
}

Percentiles Measure(const Group& group, int64_t bytes, const std::vector<int>& cores) {
  std::vector<double> times;
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < group.size(); ++rank) {
    threads.emplace_back([&, rank] {
      if (group.size() <= cores.size()) PinTo(cores[rank]);
      std::vector<double> mine = TimeCalls(*group[rank], bytes);
      if (rank == 0) times = std::move(mine);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return PercentilesOf(std::move(times));
}

std::string SizeText(int64_t bytes) {
  if (bytes >= 1 << 20) return absl::StrCat(bytes >> 20, " MiB");
  if (bytes % 1024 == 0) return absl::StrCat(bytes >> 10, " KiB");
  return absl::StrCat(bytes, " B");
}

std::string TimeText(double microseconds) {
  return absl::StrFormat(microseconds < 100 ? "%.1f" : "%.0f", microseconds);
}

std::vector<Transport> AllTransports(absl::Duration spin) {
  const auto net = [=](std::shared_ptr<TlsCredentials> credentials, int world) {
    NetCommunicatorFactory factory({.listen_host = kLoopback,
                                    .leader_host = kLoopback,
                                    .credentials = std::move(credentials),
                                    .spin = spin});
    return MakeFactoryGroup(factory, world, absl::Minutes(1));
  };
  return {{"local", [](int world) { return MakeLocalGroup(world); }},
          {"shm",
           [](int world) {
             ShmCommunicatorFactory factory;
             return MakeFactoryGroup(factory, world, absl::Minutes(1));
           }},
          {"net", [=](int world) { return net(nullptr, world); }},
          {"net, TLS", [=, credentials = testing::Authority("bench").Credentials("rank")](
                           int world) { return net(credentials, world); }}};
}

void PrintTable(int world, int64_t max_bytes, absl::Duration spin) {
  const std::vector<int> cores = AllowedCores();
  std::printf("%d ranks on %zu cores%s; p50 / p99 in us\n\n", world, cores.size(),
              static_cast<size_t>(world) <= cores.size() ? ", one each" : ", NOT ONE EACH");
  const std::vector<Transport> transports = AllTransports(spin);
  std::vector<Group> groups;
  std::printf("| %-8s", "size");
  for (const Transport& transport : transports) {
    groups.push_back(transport.make_group(world));
    std::printf(" | %15s", transport.name);
  }
  std::printf(" |\n| --------");
  for (size_t i = 0; i < transports.size(); ++i) std::printf(" | --------------:");
  std::printf(" |\n");
  for (const int64_t bytes : kSizes) {
    if (bytes > max_bytes) break;
    std::printf("| %-8s", SizeText(bytes).c_str());
    for (const Group& group : groups) {
      const Percentiles times = Measure(group, bytes, cores);
      std::printf(" | %15s",
                  absl::StrCat(TimeText(times.p50_us), " / ", TimeText(times.p99_us)).c_str());
      std::fflush(stdout);
    }
    std::printf(" |\n");
  }
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  CLI::App app("How long an all-reduce takes, by transport and size.");
  phalanx::AddStandardOptions(app);
  int world = 2;
  app.add_option("--world", world, "Ranks")->check(CLI::Range(2, 16));
  int64_t max_bytes = 16 << 20;
  app.add_option("--max_bytes", max_bytes, "The longest message");
  absl::Duration spin = phalanx::NetCommunicator::Options().spin;
  phalanx::AddDurationOption(app, "--spin", &spin,
                             "How long ranks by network look for data before they sleep");
  if (const auto code = phalanx::ParseCommandLine(app, argc, argv)) return *code;
  // Where certificates for the connections with TLS are made.
  std::string folder = "/tmp/comm_bench.XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return phalanx::kExitFailure;
  setenv("TEST_TMPDIR", folder.c_str(), /*overwrite=*/1);  // NOLINT(concurrency-mt-unsafe)
  phalanx::PrintTable(world, max_bytes, spin);
  std::filesystem::remove_all(folder);
  return phalanx::kExitOk;
}
