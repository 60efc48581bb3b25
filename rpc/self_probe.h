// Lets a server check whether its own port still takes calls.
#ifndef PHALANX_RPC_SELF_PROBE_H_
#define PHALANX_RPC_SELF_PROBE_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "base/host_port.h"
#include "prometheus/counter.h"
#include "prometheus/registry.h"
#include "rpc/listener.h"

namespace phalanx {

// Asks the server of this process for the health of "liveness", each time over a new connection, as
// a new client would. A server that is up but does not answer, whatever the reason, is worse than
// one that has ended, because nobody starts another in its place. So when several calls in a row
// are not answered, the process is to end.
//
// A connection that the listener refused for want of descriptors counts as answered: the process
// works, and is full.
class SelfProbe {
 public:
  struct Options {
    // Time from the end of one call to the start of the next, and also the time after which a call
    // counts as not answered. Zero makes no calls.
    absl::Duration interval = absl::Seconds(10);
    // The server counts as deaf after this many calls in a row that failed. If the whole process
    // was stopped for a while, at most one call has failed by that.
    int max_failures = 6;
    // Called once, on the probe's thread, after max_failures. If null, the process ends
    // (LOG(FATAL)).
    std::function<void()> on_deaf = nullptr;
  };

  // `address` is where to connect to; `listener`, which has started, must outlive the object. Makes
  // phalanx_self_probes_total in `registry`, by result: answered, refused or failed.
  SelfProbe(Options options, const HostPort& address, const Listener* listener,
            prometheus::Registry& registry);
  SelfProbe(const SelfProbe&) = delete;
  SelfProbe& operator=(const SelfProbe&) = delete;
  // Breaks off the call that is under way. To be called before the listener is stopped.
  ~SelfProbe();

 private:
  class Call;
  struct Shared;

  void Run();
  // False once the object is being destroyed.
  bool Probe();

  const Options options_;
  const std::string target_;
  const Listener* const listener_;
  prometheus::Counter& answered_;
  prometheus::Counter& refused_;
  prometheus::Counter& failed_;
  // Failures in a row so far. Used by the probe's thread only.
  int failures_ = 0;
  // May outlive the object: gRPC may still have a call then.
  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_RPC_SELF_PROBE_H_
