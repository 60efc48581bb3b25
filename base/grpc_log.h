// What gRPC itself logs.
#ifndef PHALANX_BASE_GRPC_LOG_H_
#define PHALANX_BASE_GRPC_LOG_H_

namespace phalanx {

// Makes gRPC's own lines lines of ours, so that they neither wait for who reads standard error nor
// break the format. To be called before gRPC is used. By default gRPC logs errors only; see its
// GRPC_VERBOSITY. An assertion of gRPC's that fails is FATAL: the process ends, and the line is
// out.
void SendGrpcLogToOurs();

}  // namespace phalanx

#endif  // PHALANX_BASE_GRPC_LOG_H_
