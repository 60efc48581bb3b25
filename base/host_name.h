// What this host is called.
#ifndef PHALANX_BASE_HOST_NAME_H_
#define PHALANX_BASE_HOST_NAME_H_

#include <string>

namespace phalanx {

// In a container, that of the container. Empty if it has none.
std::string HostName();

}  // namespace phalanx

#endif  // PHALANX_BASE_HOST_NAME_H_
