// Latency of an all-reduce between two ranks on threads: comm_bench [--benchmark_filter=...].
#include <memory>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/reference/reference_backend.h"
#include "worker/comm/shm_communicator.h"

namespace phalanx {
namespace {

void BM_AllReduce(benchmark::State& state) {
  const int64_t count = state.range(0) / static_cast<int64_t>(sizeof(float));
  std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2);
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
  const auto sum = [&](int rank, std::vector<float>& data) {
    return group[rank]->AllReduceSum(*stream, {data.data(), kernels::DType::kF32, 1, count}).ok();
  };
  std::thread peer([&] {
    std::vector<float> data(count);
    while (sum(1, data)) {
    }
  });
  std::vector<float> data(count);
  for (auto _ : state) {
    if (!sum(0, data)) state.SkipWithError("failed");
  }
  group[0]->Abort();
  peer.join();
}
BENCHMARK(BM_AllReduce)->RangeMultiplier(4)->Range(64, 1 << 20)->UseRealTime();

}  // namespace
}  // namespace phalanx

BENCHMARK_MAIN();
