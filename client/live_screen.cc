#include "client/live_screen.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace phalanx {
namespace {

// The terminal's second screen, and no cursor; and back again.
constexpr absl::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr absl::string_view kLeave = "\x1b[?25h\x1b[?1049l";

}  // namespace

LiveScreen::LiveScreen(Terminal* terminal) : terminal_(*terminal) {
  terminal_.SetKeyMode(true);
  // If this fails, so does Show.
  terminal_.Write(kEnter).IgnoreError();
}

LiveScreen::~LiveScreen() {
  terminal_.Write(kLeave).IgnoreError();
  terminal_.SetKeyMode(false);
}

absl::Status LiveScreen::Show(absl::string_view text) {
  const Terminal::Size size = terminal_.output_size();
  return terminal_.Write(ScreenText(text, size.rows, size.columns));
}

std::string ScreenText(absl::string_view text, int rows, int columns) {
  const std::vector<absl::string_view> lines = absl::StrSplit(absl::StripSuffix(text, "\n"), '\n');
  const size_t shown = std::min(lines.size(), static_cast<size_t>(std::max(rows, 1)));
  std::string screen = "\x1b[H";
  for (size_t i = 0; i < shown; ++i) {
    // A newline behind the last line would scroll a full screen.
    absl::StrAppend(&screen, i == 0 ? "" : "\r\n",
                    lines[i].substr(0, static_cast<size_t>(std::max(columns, 1))), "\x1b[K");
  }
  return screen + "\x1b[J";
}

}  // namespace phalanx
