// One JavaScript environment (the main thread's or a worker's): its open calls, each waiting in its own
// thread, and how their answers reach the event loop. Start reading here, then addon.cpp (what
// JavaScript sees) and verbs.cpp (what each call does). It must not know: single calls, callbacks, promises,
// signals (lib/calls.js).
//
// Around a clone: the environment whose call clones stands still between two turns of its event loop while
// the process is copied, so that in the clone no JavaScript of it runs before the handlers of on('clone').
// Others run them in their next turn.
#pragma once
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "core/guest/client.hpp"

namespace gridcentric::node {

// A call's result as a JavaScript value; made on the environment's thread.
using Answer = std::function<Napi::Value(Napi::Env)>;
// A call that any thread can run and wait for. Throws guest::Error.
using Work = std::function<Answer(guest::Call *)>;

// A JavaScript Error with code, errno and the error's text.
Napi::Error to_js(Napi::Env env, const guest::Error &error);

// All functions except hold() and release() are called on the environment's own thread.
class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();
  Environment(const Environment &) = delete;
  Environment &operator=(const Environment &) = delete;

  // deliver(id, error | undefined, value) is called for each call that has ended, cloned(vmid) in each clone.
  void connect(Napi::Function deliver, Napi::Function cloned);

  // Starts a call and returns its number, which deliver() and cancel() take. While a call with keep_alive is open
  // the event loop does not end. Throws std::system_error if no thread can be started.
  unsigned start(Work work, bool keep_alive);
  void cancel(unsigned id);  // it is still delivered. Does nothing if there is no such call

  // Makes this environment the one that carries out the orders of the host, instead of one before: order(number, ticket) is
  // called for each, and order_done() says how it went. error: a reason to decline it.
  void take_orders(Napi::Function order);
  void order_done(unsigned number, const guest::Error *error);

  // Cancels all calls and waits for their threads; nothing more is delivered. Later calls are refused.
  void close();
  bool closed() const { return closed_; }

 private:
  // The event loop is asked to stand still, does so, and continues when the clone is done.
  struct Hold {
    bool standing = false;
    bool over = false;
  };
  struct OpenCall {
    Environment *environment;
    bool keep_alive;
    unsigned generation;                    // of the domain that made the call
    std::atomic<bool> interrupted = false;  // cancelled because this is a clone of that domain
    guest::Call call;
    std::shared_ptr<Hold> hold;  // while its thread copies the process
    std::thread thread;
  };
  using Message = std::function<void(Napi::Env)>;

  static void on_message(napi_env env, napi_value, void *context, void *data);
  static void on_clone(int vmid);
  static void on_copy_of_child();
  bool post(Message message);  // from any thread
  void deliver(Napi::Env env, unsigned id, const Answer &answer, const guest::Error *error);
  void stand_still(Napi::Env env, Hold &hold);
  void notice_clone(Napi::Env env);
  void keep_alive(int change);
  void run(unsigned id, OpenCall &open, const Work &work);  // a call's thread
  void hold(OpenCall &open);                  // by a call's thread, before the process is copied
  void release(OpenCall &open);               // by the same thread, in the caller and in each clone
  void carry_out(const std::string &ticket);  // the thread that listens for orders
  static thread_local OpenCall *call_of_thread_;

  Napi::Env env_;
  void *const isolate_;  // of its thread
  napi_threadsafe_function messages_ = nullptr;
  Napi::FunctionReference deliver_;
  Napi::FunctionReference cloned_;
  Napi::FunctionReference order_;
  std::map<unsigned, std::unique_ptr<OpenCall>> calls_;
  unsigned last_id_ = 0;
  int keeping_alive_ = 0;
  unsigned generation_;
  bool closed_ = false;

  std::mutex mutex_;  // protects what follows
  std::condition_variable changed_;
  bool closing_ = false;
  unsigned last_order_ = 0;                   // there is one at a time
  std::optional<guest::Error> order_result_;  // GC_OK: it has been carried out
};

}  // namespace gridcentric::node
