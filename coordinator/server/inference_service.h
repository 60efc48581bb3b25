// phalanx.v1.Inference over raw bytes.
#ifndef PHALANX_COORDINATOR_SERVER_INFERENCE_SERVICE_H_
#define PHALANX_COORDINATOR_SERVER_INFERENCE_SERVICE_H_

#include <memory>

#include "coordinator/server/serving_environment.h"

namespace grpc {
class Service;
}

namespace phalanx {

// `environment` must outlive the server on which the service is registered, and its calls.
std::unique_ptr<grpc::Service> MakeInferenceService(const ServingEnvironment* environment);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_INFERENCE_SERVICE_H_
