// What the event loop of one environment still has of the master's, in a clone: handles of child processes, and streams that
// are dead ends. By libuv's own interface, whoever made the handles. It must not know: JavaScript's objects for them
// (lib/children.js), calls.
#pragma once
#include <napi.h>

namespace gridcentric::node {

// Every child process of the loop gets a number that no process has: kill() and the loop's own wait reach nobody.
void forget_children(Napi::Env env);

// Tells the owner of one of them that it has ended by SIGKILL. false: there is none left.
bool end_child(Napi::Env env);

// What the loop has not finished of the streams whose other side is gone: a text that stays the same while nothing happens;
// "" when there is nothing. `unread`: the loop will still say of one that it is at its end.
std::string unfinished_ends(Napi::Env env, bool &unread);

}  // namespace gridcentric::node
