// Constraints that cost far more than their length, or would without limits.
#ifndef PHALANX_WORKER_CONSTRAINT_TESTING_HOSTILE_CONSTRAINTS_H_
#define PHALANX_WORKER_CONSTRAINT_TESTING_HOSTILE_CONSTRAINTS_H_

#include <string>
#include <vector>

#include "worker/constraint/constraint_source.h"

namespace phalanx {

struct HostileConstraint {
  std::string name;
  ConstraintSource source;
  // Whether it must be refused. If not, it only looks bad, or turns bad while the text is written.
  bool refused = true;
};

std::vector<HostileConstraint> HostileConstraints();

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_TESTING_HOSTILE_CONSTRAINTS_H_
