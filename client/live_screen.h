// A terminal's screen whose contents are replaced from time to time, as `phalanx top` does.
#ifndef PHALANX_CLIENT_LIVE_SCREEN_H_
#define PHALANX_CLIENT_LIVE_SCREEN_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/terminal.h"

namespace phalanx {

// While it lives, the terminal shows a screen of its own without a cursor, and keys are not echoed.
// Afterwards it is as it was before. Thread-compatible.
class LiveScreen {
 public:
  // `terminal` is lent; its output must be a terminal.
  explicit LiveScreen(Terminal* terminal);
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;
  ~LiveScreen();

  // Replaces what is shown. What does not fit is cut off. Errors as those of Terminal::Write.
  absl::Status Show(absl::string_view text);

 private:
  Terminal& terminal_;
};

// The first lines of `text`, as many as `rows`, each of at most `columns` bytes, with the commands
// that make a terminal show them, and nothing else, from its upper left corner on.
std::string ScreenText(absl::string_view text, int rows, int columns);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_LIVE_SCREEN_H_
