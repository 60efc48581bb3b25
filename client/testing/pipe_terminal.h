// A Terminal on pipes, for tests.
#ifndef PHALANX_CLIENT_TESTING_PIPE_TERMINAL_H_
#define PHALANX_CLIENT_TESTING_PIPE_TERMINAL_H_

#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/log.h"
#include "client/terminal.h"

namespace phalanx {

// Thread-compatible, but for the functions that say otherwise.
class PipeTerminal {
 public:
  PipeTerminal() {
    signal(SIGPIPE, SIG_IGN);
    CHECK(pipe(in_) == 0 && pipe(out_) == 0 && pipe(err_) == 0) << "pipe";
    terminal_ = std::make_unique<Terminal>(in_[0], out_[1], err_[1], &interrupt_);
  }
  PipeTerminal(const PipeTerminal&) = delete;
  PipeTerminal& operator=(const PipeTerminal&) = delete;
  ~PipeTerminal() {
    for (int* pair : {in_, out_, err_}) {
      Close(&pair[0]);
      Close(&pair[1]);
    }
  }

  Terminal* get() { return terminal_.get(); }
  // May be used by any thread.
  Interrupt& interrupt() { return interrupt_; }

  // Types `text`, at most 64 KiB in all.
  void Type(const std::string& text) {
    CHECK(write(in_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size())) << "write";
  }
  void EndInput() { Close(&in_[1]); }

  // Blocks until standard output has brought `text` since the last call, and returns all that came.
  // May be called by any thread, but by one at a time.
  std::string WaitForOutput(const std::string& text) {
    std::string seen;
    char byte;
    while (seen.find(text) == std::string::npos) {
      CHECK(read(out_[0], &byte, 1) == 1) << "standard output ended; it was: " << seen;
      seen.push_back(byte);
    }
    return seen;
  }
  // Does what the end of `head` in a pipe does.
  void CloseOutputReader() { Close(&out_[0]); }

  // Ends the streams and returns what is left in them.
  std::string Output() { return Drain(out_); }
  std::string Errors() { return Drain(err_); }

 private:
  static void Close(int* fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }

  static std::string Drain(int* pair) {
    Close(&pair[1]);
    std::string text;
    char byte;
    while (read(pair[0], &byte, 1) == 1) text.push_back(byte);
    return text;
  }

  int in_[2];
  int out_[2];
  int err_[2];
  Interrupt interrupt_;
  std::unique_ptr<Terminal> terminal_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TESTING_PIPE_TERMINAL_H_
