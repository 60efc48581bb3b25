// The process that renders templates: the coordinator's own program, started with an argument that
// people have no use for.
#ifndef PHALANX_COORDINATOR_TEXT_RENDERER_RENDER_LOOP_H_
#define PHALANX_COORDINATOR_TEXT_RENDERER_RENDER_LOOP_H_

#include <optional>

namespace phalanx {

inline constexpr char kRenderTemplatesArgument[] = "--internal_render_templates";

// To be called first in main by every program that has a RendererPool. If the arguments ask for it,
// serves the socket that is standard input, within the limits that it is told, until its other end
// closes or its parent dies; returns the exit code. SIGINT and SIGTERM do not end it, as they reach
// the whole group of a terminal, and its coordinator has chats to finish.
std::optional<int> RunRendererIfAsked(int argc, char** argv);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_RENDERER_RENDER_LOOP_H_
