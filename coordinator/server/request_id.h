// Names and seeds that nobody can guess or repeat.
#ifndef PHALANX_COORDINATOR_SERVER_REQUEST_ID_H_
#define PHALANX_COORDINATOR_SERVER_REQUEST_ID_H_

#include <cstdint>
#include <string>

namespace phalanx {

// 64 random bits from the operating system. Thread-safe.
uint64_t RandomBits64();

// 128 random bits as 32 hexadecimal digits.
std::string MakeRequestId();

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_REQUEST_ID_H_
