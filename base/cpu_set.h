// Which CPUs threads may run on.
#ifndef PHALANX_BASE_CPU_SET_H_
#define PHALANX_BASE_CPU_SET_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

// The CPUs that the calling thread may run on, in ascending order; CPU 0 if the system does not
// tell. A new thread, and a new process, may run where the one that started it could.
std::vector<int> AllowedCpus();

// Reads and writes lists as Linux has them: "0-3,8". nullopt for other text and for more than 2^16
// CPUs.
std::optional<std::vector<int>> ParseCpuList(absl::string_view text);
// `cpus` ascend.
std::string CpuListText(absl::Span<const int> cpus);

// Has the calling thread keep to some CPUs for as long as this lives, and then to those of before.
// With no CPUs, or some that the system refuses, nothing changes. The thread that makes it destroys
// it. Threads and processes that it starts meanwhile are kept to these CPUs for good.
class ScopedCpuPin {
 public:
  explicit ScopedCpuPin(absl::Span<const int> cpus);
  ScopedCpuPin(const ScopedCpuPin&) = delete;
  ScopedCpuPin& operator=(const ScopedCpuPin&) = delete;
  ~ScopedCpuPin();

 private:
  std::vector<int> before_;  // Empty if nothing was changed.
};

}  // namespace phalanx

#endif  // PHALANX_BASE_CPU_SET_H_
