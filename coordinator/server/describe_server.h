// What the server tells of itself in the description of a model.
#ifndef PHALANX_COORDINATOR_SERVER_DESCRIBE_SERVER_H_
#define PHALANX_COORDINATOR_SERVER_DESCRIBE_SERVER_H_

#include <string>
#include <vector>

#include "coordinator/server/serving_environment.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// A name of Model.features, and whether it is offered for the model that is served.
struct Feature {
  std::string name;
  bool offered = false;
};

// Every feature that this server knows, in order.
std::vector<Feature> KnownFeatures(const ServedModel& model, const RequestLimits& limits);

// Fills in features, limits, fingerprint and server_version.
void DescribeServer(const ServingEnvironment& environment, v1::Model* model);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_DESCRIBE_SERVER_H_
