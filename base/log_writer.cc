#include "base/log_writer.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace phalanx {
namespace {

std::atomic<int64_t> lines_dropped{0};

// Returns whether all was written. Waits until the descriptor takes it, however long that is.
bool WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd writable{fd, POLLOUT, 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

// Lines on their way to the descriptor. Thread-safe.
class LogWriter::Queue {
 public:
  explicit Queue(const Options& options) : options_(options) {}

  const Options& options() const { return options_; }

  // Queues a line, or drops it if there is no room and it is not `urgent`. Does not wait.
  void Add(std::string line, bool urgent) {
    MutexLock lock(&mutex_);
    // Once lines are dropped, they are until half of the queue is free. So the log has one gap, not
    // one at every other line.
    const size_t room = dropping_ ? options_.max_queued_bytes / 2 : options_.max_queued_bytes;
    if (!urgent && queued_bytes_ + line.size() > room) {
      dropping_ = true;
      CountDropped(1);
      return;
    }
    dropping_ = false;
    ReportDropped();
    Push({std::move(line), 0});
    wake_.Signal();
  }

  // Waits until everything in the queue has been written. Returns false after `timeout`.
  bool Flush(absl::Duration timeout) {
    const absl::Time end = MonotonicClock()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (!lines_.empty() || writing_) {
      const absl::Duration left = end - MonotonicClock()->Now();
      if (left <= absl::ZeroDuration()) return false;
      written_.WaitFor(&mutex_, left);
    }
    return true;
  }

  // Makes Run return once the queue is empty.
  void Close() {
    MutexLock lock(&mutex_);
    closing_ = true;
    wake_.Signal();
  }

  // What the writing thread runs.
  void Run() {
    while (std::optional<Entry> entry = Next()) {
      const bool written = WriteAll(options_.fd, entry->text);
      MutexLock lock(&mutex_);
      writing_ = false;
      // The lines that this one told of were counted when they were dropped: only the report is due
      // again.
      if (!written && entry->reports > 0) {
        unreported_ += entry->reports;
      } else if (!written) {
        CountDropped(1);
      } else if (lines_.empty()) {
        dropping_ = false;
        ReportDropped();
      }
      written_.SignalAll();
    }
  }

 private:
  struct Entry {
    std::string text;
    // How many dropped lines the text is about; 0 for a line of its own.
    int64_t reports;
  };

  std::optional<Entry> Next() {
    MutexLock lock(&mutex_);
    while (lines_.empty() && !closing_) wake_.Wait(&mutex_);
    if (lines_.empty()) return std::nullopt;
    std::optional<Entry> entry = std::move(lines_.front());
    lines_.pop_front();
    queued_bytes_ -= entry->text.size();
    writing_ = true;
    return entry;
  }

  void Push(Entry entry) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    queued_bytes_ += entry.text.size();
    lines_.push_back(std::move(entry));
  }

  void CountDropped(int64_t lines) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    unreported_ += lines;
    lines_dropped += lines;
  }

  void ReportDropped() EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (unreported_ == 0) return;
    const std::string message =
        absl::StrCat(unreported_, " lines of the log are missing here: they came faster than they ",
                     "could be written");
    Push({FormatLogLine({.severity = LogSeverity::kWarning,
                         .time = absl::Now(),
                         .file = __FILE__,
                         .line = __LINE__,
                         .tag = "",
                         .message = message},
                        options_.format),
          std::exchange(unreported_, 0)});
  }

  const Options options_;
  Mutex mutex_;
  CondVar wake_;
  CondVar written_;
  std::deque<Entry> lines_ GUARDED_BY(mutex_);
  size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool closing_ GUARDED_BY(mutex_) = false;
  bool dropping_ GUARDED_BY(mutex_) = false;
  int64_t unreported_ GUARDED_BY(mutex_) = 0;
};

namespace {

// The queue that LOG uses now. Never destroyed: threads may log while the process ends.
struct Current {
  // The process whose thread writes; 0 if there is none. Looked at before the mutex is locked: in a
  // child that was forked while another thread held the mutex, nobody would ever unlock it.
  std::atomic<pid_t> process{0};
  Mutex mutex;
  std::shared_ptr<LogWriter::Queue> queue GUARDED_BY(mutex);

  void Set(std::shared_ptr<LogWriter::Queue> next) {
    MutexLock lock(&mutex);
    process = next == nullptr ? 0 : getpid();
    queue = std::move(next);
  }

  std::shared_ptr<LogWriter::Queue> Get() {
    if (process != getpid()) return nullptr;
    MutexLock lock(&mutex);
    return queue;
  }
};

Current& GetCurrent() {
  static auto* const current = new Current;
  return *current;
}

}  // namespace

LogWriter::LogWriter(const Options& options)
    : flush_timeout_(options.flush_timeout), queue_(std::make_shared<Queue>(options)) {
  // The thread inherits a mask that blocks all signals, so that they go to threads of main.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([queue = queue_] { queue->Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  GetCurrent().Set(queue_);
}

LogWriter::~LogWriter() {
  GetCurrent().Set(nullptr);
  // A thread that is stuck in writing cannot be joined. It shares the ownership of the queue.
  queue_->Close();
  if (queue_->Flush(flush_timeout_)) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

int64_t LogLinesDropped() { return lines_dropped; }

void WriteLogLine(const LogLine& line) {
  const std::shared_ptr<LogWriter::Queue> queue = GetCurrent().Get();
  if (queue == nullptr) {
    WriteAll(STDERR_FILENO, FormatLogLine(line, LogFormat::kText));
    return;
  }
  const bool fatal = line.severity == LogSeverity::kFatal;
  queue->Add(FormatLogLine(line, queue->options().format), fatal);
  if (fatal) queue->Flush(queue->options().flush_timeout);
}

}  // namespace phalanx
