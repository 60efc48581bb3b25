// A model that is ready to run steps: as a worker loads it, ranks and all, but with no server.
#ifndef PHALANX_WORKER_BENCH_BENCH_MODEL_H_
#define PHALANX_WORKER_BENCH_BENCH_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/shutdown_signal.h"
#include "kernels/ops.h"
#include "model/spec/spec.h"
#include "worker/bench/bench_options.h"
#include "worker/group/group_leader.h"
#include "worker/platform.h"
#include "worker/rank_model.h"
#include "worker/step/step.h"

namespace phalanx {

class BenchModel {
 public:
  // Loads the model, or makes it, and waits for the other ranks. `kv_tokens` are the sizes of the
  // KV cache to try, the largest first: the first that fits into memory is taken. All arguments are
  // lent and must outlive the model. Errors are those of loading; RESOURCE_EXHAUSTED if none fits.
  static absl::StatusOr<std::unique_ptr<BenchModel>> Load(const BenchOptions& options,
                                                          const std::vector<int64_t>& kv_tokens,
                                                          const Platform& platform,
                                                          const ShutdownSignal& shutdown);
  ~BenchModel();
  BenchModel(const BenchModel&) = delete;
  BenchModel& operator=(const BenchModel&) = delete;

  // Runs the steps on all ranks.
  StepExecutor& executor() { return *group_; }
  const ModelSpec& spec() const { return spec_; }
  const StepLimits& limits() const { return limits_; }
  bool prefix_cache() const { return worker_.prefix_cache; }
  const kernels::Backend& backend() const { return *backend_; }
  int world() const { return options_.worker.group_size(); }
  int threads() const { return threads_; }

  // The bytes of weights that a step which draws tokens reads, on all ranks together.
  double weight_bytes() const { return weight_bytes_; }
  // The bytes of keys and values of one token, on all ranks together.
  double kv_bytes_per_token() const;

 private:
  BenchModel(const BenchOptions& options, const Platform& platform, const ShutdownSignal& shutdown);
  absl::Status Init(const std::vector<int64_t>& kv_tokens);
  // These two set limits_, model_ and group_.
  absl::Status LoadFile(const std::vector<int64_t>& kv_tokens);
  absl::Status MakeSynthetic(const std::vector<int64_t>& kv_tokens);
  absl::Status StartGroup(const std::string& fingerprint);

  const BenchOptions& options_;
  const Platform& platform_;
  const ShutdownSignal& shutdown_;
  WorkerOptions worker_;
  ModelSpec spec_;
  StepLimits limits_;
  int threads_ = 1;
  double weight_bytes_ = 0;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<GroupLeader> group_;
  // After group_, on whose communicator it is made.
  RankModel model_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_BENCH_MODEL_H_
