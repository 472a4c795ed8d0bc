// The addon's interface to lib/: start a call that waits, cancel it, and the quick calls that answer from
// memory. It must not know: what a call does (verbs.cpp), how it waits (environment.cpp), argument checks
// (lib/arguments.js).
#include <napi.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <system_error>

#include "core/generators/known.hpp"
#include "environment.hpp"
#include "isolates.hpp"
#include "loop.hpp"
#include "random.hpp"
#include "verbs.hpp"

namespace gridcentric::node {
namespace {

Environment &of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

// connect(gc, deliver, cloned): gc is the path of the package's own gc command, which starts private hosts.
void connect(const Napi::CallbackInfo &info) {
  // Not through process.env, because a worker's is a copy.
  ::setenv("GRIDCENTRIC_GC", info[0].As<Napi::String>().Utf8Value().c_str(), 0);
  of(info.Env()).connect(info[1].As<Napi::Function>(), info[2].As<Napi::Function>());
}

// start(verb, arguments, keep_alive) -> number of the call
Napi::Value start(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = of(env);
  if (environment.closed()) {
    throw to_js(env,
                guest::Error(GC_E_HOST_UNREACHABLE,
                             "the program, or this worker of it, is ending: no further calls are possible"));
  }
  Work work = make_work(env, info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Array>());
  try {
    return Napi::Number::New(env, environment.start(std::move(work), info[2].As<Napi::Boolean>().Value()));
  } catch (const std::system_error &failure) {
    throw to_js(env, guest::Error(GC_E_HOST_UNREACHABLE,
                                  std::string("cannot start a thread for the call: ") + failure.what() +
                                      "; make fewer calls at a time, or raise the limit (ulimit -u)"));
  }
}

void cancel(const Napi::CallbackInfo &info) {
  of(info.Env()).cancel(info[0].As<Napi::Number>().Uint32Value());
}

// takeOrders(order): order(number, ticket) is called for each order to clone
void take_orders(const Napi::CallbackInfo &info) { of(info.Env()).take_orders(info[0].As<Napi::Function>()); }

// orderDone(number[, errno, text]): it has been carried out, or is declined for this reason
void order_done(const Napi::CallbackInfo &info) {
  const unsigned number = info[0].As<Napi::Number>().Uint32Value();
  if (info.Length() < 3) return of(info.Env()).order_done(number, nullptr);
  const guest::Error reason(info[1].As<Napi::Number>().Int32Value(), info[2].As<Napi::String>().Utf8Value());
  of(info.Env()).order_done(number, &reason);
}

void close(const Napi::CallbackInfo &info) { of(info.Env()).close(); }

Napi::Value reseed(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), reseed_math_random(current_isolate()));
}

Napi::Value can_reseed(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), can_reseed_math_random());
}

// learnIsolates(makeContext, renewal): see isolates.hpp. renewal: the script of set_renewal().
void learn(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const auto make_context = info[0].As<Napi::Function>();
  learn_isolates([&] { make_context.Call({}); },
                 *reinterpret_cast<std::uintptr_t *>(static_cast<napi_value>(env.Undefined())));
  set_renewal(info[1].As<Napi::String>().Utf8Value());
}

// The current pid; process.pid is the one from Node's start.
Napi::Value pid(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), ::getpid()); }

// A socket that its peer has reset, by closing its end with unread data (unix(7)). The caller owns it. -1: failed.
Napi::Value reset_socket(const Napi::CallbackInfo &info) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return Napi::Number::New(info.Env(), -1);
  [[maybe_unused]] const auto written = ::write(pair[0], "", 1);
  ::close(pair[1]);
  return Napi::Number::New(info.Env(), pair[0]);
}

void forget_children_here(const Napi::CallbackInfo &info) {
  if (!guest::children_are_cloned()) forget_children(info.Env());
}

Napi::Value end_child_here(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), !guest::children_are_cloned() && end_child(info.Env()));
}

// unfinishedEnds() -> [text, unread]
Napi::Value unfinished_ends_here(const Napi::CallbackInfo &info) {
  bool unread = false;
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, unfinished_ends(info.Env(), unread));
  result.Set(1u, unread);
  return result;
}

Napi::Value vmid(const Napi::CallbackInfo &info) {
  try {
    return Napi::Number::New(info.Env(), guest::vmid());
  } catch (const guest::Error &error) {
    throw to_js(info.Env(), error);
  }
}

Napi::Value ismaster(const Napi::CallbackInfo &info) {
  try {
    return Napi::Boolean::New(info.Env(), guest::ismaster());
  } catch (const guest::Error &error) {
    throw to_js(info.Env(), error);
  }
}

Napi::Value my_ip(const Napi::CallbackInfo &info) {
  try {
    return Napi::String::New(info.Env(), guest::my_ip());
  } catch (const guest::Error &error) {
    throw to_js(info.Env(), error);
  }
}

// errors: { timed_out: 110, ... }
Napi::Object errors(Napi::Env env) {
  Napi::Object table = Napi::Object::New(env);
  for (const guest::ErrorRow &row : guest::error_table())
    table.Set(row.word, Napi::Number::New(env, row.code));
  return table;
}

// generators: [{ name, evidence }]: the table's npm packages whose numbers repeat
Napi::Array repeating_packages(Napi::Env env) {
  Napi::Array list = Napi::Array::New(env);
  for (const generators::Known &row : generators::known()) {
    if (row.found_as != generators::FoundAs::PACKAGE || row.outcome != generators::InClone::REPEATS) continue;
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", std::string(row.name));
    object.Set("evidence", std::string(row.evidence));
    list.Set(list.Length(), object);
  }
  return list;
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  exports.Set("version", gc_version());
  exports.Set("errors", errors(env));
  exports.Set("repeatingPackages", repeating_packages(env));
  exports.Set("connect", Napi::Function::New(env, connect));
  exports.Set("start", Napi::Function::New(env, start));
  exports.Set("cancel", Napi::Function::New(env, cancel));
  exports.Set("takeOrders", Napi::Function::New(env, take_orders));
  exports.Set("orderDone", Napi::Function::New(env, order_done));
  exports.Set("close", Napi::Function::New(env, close));
  exports.Set("reseedMathRandom", Napi::Function::New(env, reseed));
  exports.Set("canReseedMathRandom", Napi::Function::New(env, can_reseed));
  exports.Set("learnIsolates", Napi::Function::New(env, learn));
  exports.Set("pid", Napi::Function::New(env, pid));
  exports.Set("resetSocket", Napi::Function::New(env, reset_socket));
  exports.Set("forgetChildren", Napi::Function::New(env, forget_children_here));
  exports.Set("endChild", Napi::Function::New(env, end_child_here));
  exports.Set("unfinishedEnds", Napi::Function::New(env, unfinished_ends_here));
  exports.Set("vmid", Napi::Function::New(env, vmid));
  exports.Set("ismaster", Napi::Function::New(env, ismaster));
  exports.Set("my_ip", Napi::Function::New(env, my_ip));
  return exports;
}

}  // namespace
}  // namespace gridcentric::node

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  return gridcentric::node::initialize(env, exports);
}
NODE_API_MODULE(gridcentric, initialize)
