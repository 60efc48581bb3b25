#include "base/host_name.h"

#include <unistd.h>

namespace phalanx {

std::string HostName() {
  char name[256] = {};
  // A name that does not fit may lack its end.
  if (gethostname(name, sizeof(name) - 1) != 0) return "";
  return name;
}

}  // namespace phalanx
