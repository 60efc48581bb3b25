// For programs that do risky work in a process of their own, which the kernel ends when it takes
// too much: another copy of the same program, with a socket and nothing else.
#ifndef PHALANX_BASE_LIMITED_PROCESS_H_
#define PHALANX_BASE_LIMITED_PROCESS_H_

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

namespace phalanx {

// Starts the program that is running, even if another one was installed at its path since, as
// `name` with one argument. It has `socket` as its standard input, writes to nowhere, has no other
// file of this process, and all signals are blocked until it lets them pass: a Ctrl-C in a terminal
// would end it otherwise. Returns 0 and sets *pid, or returns an errno. Thread-safe.
int StartOwnProgram(const std::string& name, const std::string& argument, int socket, pid_t* pid);

// Sets the soft limit of this process, as far as the hard one allows.
void SetSoftLimit(__rlimit_resource resource, rlim_t wanted);

// About what RLIMIT_DATA counts for this process, which is private writable memory without the
// stack. /proc adds the stack that is mapped so far, which is little at the beginning. 0 if that
// cannot be read.
uint64_t DataBytes();

}  // namespace phalanx

#endif  // PHALANX_BASE_LIMITED_PROCESS_H_
