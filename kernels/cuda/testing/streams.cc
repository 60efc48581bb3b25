#include "kernels/cuda/testing/streams.h"

#include <mutex>
#include <set>

using phalanx::kernels::cuda::emulator::Done;
using phalanx::kernels::cuda::emulator::Fault;
using phalanx::kernels::cuda::emulator::Return;
using phalanx::kernels::cuda::emulator::Work;

namespace {

struct Streams {
  std::mutex mutex;
  std::set<CUstream_st*> all;
};

Streams& TheStreams() {
  static auto* streams = new Streams;
  return *streams;
}

}  // namespace

void phalanx::kernels::cuda::emulator::WaitForAllStreams() {
  const std::lock_guard lock(TheStreams().mutex);
  for (CUstream_st* const stream : TheStreams().all) stream->Wait();
}

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = new CUstream_st;
  const std::lock_guard lock(TheStreams().mutex);
  TheStreams().all.insert(*stream);
  return Done();
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    const std::lock_guard lock(TheStreams().mutex);
    TheStreams().all.erase(stream);
  }
  delete stream;
  return Done();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (Fault() != cudaSuccess) return Return(Fault());
  return stream->idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  stream->Wait();
  return Done();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream->capture.has_value()) return Return(cudaErrorIllegalState);
  stream->capture.emplace();
  return Done();
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      stream->capture.has_value() ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return Done();
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capture.has_value()) return Return(cudaErrorIllegalState);
  *graph = new CUgraph_st(*std::move(stream->capture));
  stream->capture.reset();
  return Done();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags) {
  *executable = new CUgraphExec_st{graph->works};
  return Done();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Work& work : executable->works) stream->Push(work);
  return Done();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return Done();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return Done();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{.tells_time = (flags & cudaEventDisableTiming) == 0};
  return Done();
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return Done();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  const auto state = event->state;
  const bool is_node = flags == cudaEventRecordExternal;
  const bool captures = stream->capture.has_value();
  if (is_node && !captures) return Return(cudaErrorInvalidValue);
  const std::lock_guard lock(state->mutex);
  state->captured = captures && !is_node;
  if (state->captured) return Done();
  if (is_node) {
    // Each run of the graph records it anew.
    stream->Push([state] {
      uint64_t number;
      {
        const std::lock_guard lock(state->mutex);
        number = ++state->recorded;
      }
      state->Reach(number);
    });
  } else {
    stream->Push([state, number = ++state->recorded] { state->Reach(number); });
  }
  return Done();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (Fault() != cudaSuccess) return Return(Fault());
  const EventState& state = *event->state;
  const std::lock_guard lock(event->state->mutex);
  if (state.captured) return Return(cudaErrorCapturedEvent);
  return state.done == state.recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  const auto state = event->state;
  uint64_t number;
  {
    const std::lock_guard lock(state->mutex);
    number = state->recorded;
  }
  stream->Push([=] {
    std::unique_lock lock(state->mutex);
    state->changed.wait(lock, [&] { return state->done >= number; });
  });
  return Done();
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  std::chrono::nanoseconds times[2];
  for (int i = 0; i < 2; ++i) {
    const cudaEvent_t event = i == 0 ? start : end;
    EventState& state = *event->state;
    const std::lock_guard lock(state.mutex);
    if (state.captured) return Return(cudaErrorCapturedEvent);
    if (!event->tells_time || state.recorded == 0) return Return(cudaErrorInvalidResourceHandle);
    if (state.done != state.recorded) return Return(cudaErrorNotReady);
    times[i] = state.time;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(times[1] - times[0]).count();
  return Done();
}

}  // extern "C"
