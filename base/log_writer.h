// Writes the log on a thread of its own, so that no thread that serves waits for whoever reads it.
#ifndef PHALANX_BASE_LOG_WRITER_H_
#define PHALANX_BASE_LOG_WRITER_H_

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "base/log_format.h"

namespace phalanx {

// While a LogWriter exists, LOG and CHECK only queue their lines, from any thread, and a thread of
// its own writes them. Before and after that, and in a child between fork and exec, they write
// themselves. There may be one at a time. It is made in main, before threads that log and after
// children that are forked without exec.
//
// Lines that find the queue full, or that cannot be written, are dropped and counted. Once the
// queue has room again, a line in their place says how many they were.
class LogWriter {
 public:
  struct Options {
    LogFormat format = LogFormat::kText;
    // Where to write. Lent; may be blocking or not.
    int fd = STDERR_FILENO;
    size_t max_queued_bytes = size_t{1} << 20;
    // How long the destructor, and a CHECK that ends the process, may wait for the queued lines.
    absl::Duration flush_timeout = absl::Seconds(1);
  };

  explicit LogWriter(const Options& options);
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  // Writes what is queued, for flush_timeout at most. What is left then is lost, and the thread,
  // which is stuck in writing it, goes on until the process ends.
  ~LogWriter();

  class Queue;

 private:
  const absl::Duration flush_timeout_;
  // Shared with the thread, which may outlive this object.
  const std::shared_ptr<Queue> queue_;
  std::thread thread_;
};

// The number of lines of this process that were dropped so far, by any LogWriter. Thread-safe.
int64_t LogLinesDropped();

// What LOG calls: queues the line, or writes it if there is no LogWriter. A kFatal line is queued
// even if the queue is full, and waited for. Never throws.
void WriteLogLine(const LogLine& line);

}  // namespace phalanx

#endif  // PHALANX_BASE_LOG_WRITER_H_
