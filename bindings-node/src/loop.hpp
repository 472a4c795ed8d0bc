// What one environment's event loop still has of its master's, in a clone: handles of child processes, and streams that are
// dead ends. Uses libuv's own interface, whatever made the handles. It must not know: JavaScript's objects for them
// (lib/children.js), calls.
#pragma once
#include <napi.h>

namespace gridcentric::node {

// Gives every child process of the loop a pid that no process has: kill() and the loop's own wait reach nothing.
void forget_children(Napi::Env env);

// Tells the owner of one of them that it was ended by SIGKILL. false: none is left.
bool end_child(Napi::Env env);

// The loop's unfinished work on streams whose peer is gone, as a text that stays the same while nothing happens; "" if there is
// none. `unread`: the loop has yet to report the end of one of them.
std::string unfinished_ends(Napi::Env env, bool &unread);

}  // namespace gridcentric::node
