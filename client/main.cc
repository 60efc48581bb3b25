// The `phalanx` command.
#include <unistd.h>

#include <optional>
#include <thread>

#include "base/shutdown_signal.h"
#include "client/command_line.h"
#include "client/commands.h"
#include "client/terminal.h"

int main(int argc, char** argv) {
  phalanx::CommandLine command_line;
  if (const std::optional<int> exit_code =
          phalanx::ParseClientCommandLine(argc, argv, &command_line)) {
    return *exit_code;
  }
  phalanx::ShutdownSignal shutdown_signal;
  phalanx::Interrupt interrupt;
  // Turns signals into interrupts on a thread, because Raise takes locks, which a signal handler
  // must not.
  std::thread watcher([&] {
    for (int signal = shutdown_signal.Wait(); signal > 0; signal = shutdown_signal.Wait()) {
      interrupt.Raise(signal);
    }
  });
  phalanx::Terminal terminal(STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, &interrupt);
  const int exit_code = phalanx::RunCommand(command_line, &terminal);
  // Makes Wait return 0, which ends the watcher.
  shutdown_signal.Notify();
  watcher.join();
  return exit_code;
}
