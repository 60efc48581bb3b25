// Takes in what gRPC itself logs.
#ifndef PHALANX_BASE_GRPC_LOG_H_
#define PHALANX_BASE_GRPC_LOG_H_

namespace phalanx {

// Makes gRPC's lines go the way of ours, so that they neither wait for whoever reads standard error
// nor have another format. To be called before gRPC is used. By default gRPC logs errors only; see
// its GRPC_VERBOSITY. If an assertion of gRPC fails, its line is FATAL: it is written and the
// process ends.
void SendGrpcLogToOurs();

}  // namespace phalanx

#endif  // PHALANX_BASE_GRPC_LOG_H_
