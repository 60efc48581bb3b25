// A benchmark of what it costs to share work out over threads.
#ifndef PHALANX_KERNELS_BENCH_THREAD_TEAM_BENCH_H_
#define PHALANX_KERNELS_BENCH_THREAD_TEAM_BENCH_H_

namespace phalanx::kernels {

// Registers ThreadTeam/call: calls of a team of `num_threads` whose work takes one thread a few
// microseconds, as the small products of a step do. Beside "us_a_call", the counter
// "us_beside_work" is what a call takes beyond an equal share of what one thread takes alone, which
// the same iteration measures.
void RegisterThreadTeamBench(int num_threads);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_THREAD_TEAM_BENCH_H_
