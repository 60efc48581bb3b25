// The gRPC service by which people look at a worker group: phalanx.worker.v1.Introspection.
#ifndef PHALANX_WORKER_SERVER_INTROSPECTION_SERVICE_H_
#define PHALANX_WORKER_SERVER_INTROSPECTION_SERVICE_H_

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "worker/engine/engine.h"
#include "worker/group/rank_board.h"

namespace phalanx {

// Thread-safe. Keeps no thread waiting: a call whose step hangs is ended by a timer.
class IntrospectionService {
 public:
  struct Options {
    // How long a call waits for a step to end, at most.
    absl::Duration patience = absl::Seconds(2);
    // What is known of the ranks; lent, for as long as the engine lives, which may answer calls
    // that have given up. Null if nothing is told of them.
    const RankBoard* board = nullptr;
  };

  // `engine` is lent and must outlive all calls.
  IntrospectionService(const Options& options, Engine* engine);
  IntrospectionService(const IntrospectionService&) = delete;
  IntrospectionService& operator=(const IntrospectionService&) = delete;
  ~IntrospectionService();

  // What the group serves. Calls before that end with UNAVAILABLE. To be called once.
  void Announce(const std::string& model_name, int world);

  // To be registered with a server, which must have been shut down before this object goes.
  grpc::Service* service();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_INTROSPECTION_SERVICE_H_
