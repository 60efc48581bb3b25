// A stand-in for NCCL, for tests on the emulator of kernels/cuda: its ranks are threads or
// processes of one host, and exchange their data through memory that they share.
//
// It is as unhelpful as NCCL: calls return at once, and what they queue on a stream waits for the
// other ranks for ever, or until this rank's CommAbort. Aborting one rank tells the others nothing.
// A communicator is kInProgress until CommInitRankConfig has been called for all ranks. Sums are
// not taken in rank order, and bfloat16 is rounded at every addition. What NCCL leaves undefined
// ends the process or the collective with kInvalidUsage: collectives that do not match, or calls
// before a communicator is formed or after it was destroyed.
//
// Collectives of one communicator run in the order of the calls, whatever their streams. Replays of
// recorded ones run in the order of their stream alone; nothing else may run meanwhile.
#ifndef PHALANX_WORKER_COMM_TESTING_NCCL_STAND_IN_H_
#define PHALANX_WORKER_COMM_TESTING_NCCL_STAND_IN_H_

#include "worker/comm/nccl_api.h"

namespace phalanx {

// The functions. Tests may replace some in a copy, to see calls or to make them fail.
const NcclApi& NcclStandIn();

// Makes CommGetAsyncError report `error` for communicators of `rank`, at most 15, in this process
// from here on, as after a connection that breaks; kSuccess ends that.
void SetNcclStandInError(int rank, NcclResult error);

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_TESTING_NCCL_STAND_IN_H_
