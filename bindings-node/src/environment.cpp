#include "environment.hpp"

#include <set>
#include <utility>
#include <vector>

#include "core/guest/orders.hpp"
#include "isolates.hpp"

namespace gridcentric::node {
namespace {

// All environments of the process: a clone must wake every one.
std::mutex environments_mutex;
std::set<Environment *> environments;

// The one that takes orders. An order holds the mutex for as long as it is carried out, so that its environment stays.
std::mutex taker_mutex;
Environment *taker = nullptr;

}  // namespace

thread_local Environment::OpenCall *Environment::call_of_thread_ = nullptr;

Napi::Error to_js(Napi::Env env, const guest::Error &error) {
  Napi::Error made = Napi::Error::New(env, error.text);
  const guest::ErrorRow *row = guest::find_error(error.code);
  made.Set("code", Napi::String::New(env, row ? row->word : "cancelled"));
  made.Set("errno", Napi::Number::New(env, error.code));
  return made;
}

Environment::Environment(Napi::Env env)
    : env_(env), isolate_(current_isolate()), generation_(guest::generation()) {
  napi_value name = Napi::String::New(env, "gridcentric");
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr,
                                                             nullptr, this, on_message, &messages_);
  if (status != napi_ok) throw Napi::Error::New(env, "gridcentric: this environment is ending");
  napi_unref_threadsafe_function(env, messages_);
  // Runs before the environment destroys messages_: hooks run in reverse order.
  napi_add_env_cleanup_hook(
      env, [](void *self) { static_cast<Environment *>(self)->close(); }, this);

  static std::once_flag once;
  std::call_once(once, [] {
    guest::on_clone(on_clone);
    guest::repair_children_with(on_copy_of_child);
    guest::no_locks_in_chunks(256 * 1024);  // MemoryChunk of V8
    guest::around_copy(
        [] {
          if (call_of_thread_) call_of_thread_->environment->hold(*call_of_thread_);
        },
        [] {
          if (call_of_thread_) call_of_thread_->environment->release(*call_of_thread_);
        });
  });
  std::lock_guard lock(environments_mutex);
  environments.insert(this);
}

Environment::~Environment() {
  {
    std::lock_guard lock(taker_mutex);
    if (taker == this) taker = nullptr;
  }
  std::lock_guard lock(environments_mutex);
  environments.erase(this);
}

void Environment::connect(Napi::Function deliver, Napi::Function cloned) {
  deliver_ = Napi::Persistent(deliver);
  cloned_ = Napi::Persistent(cloned);
}

unsigned Environment::start(Work work, bool keep_alive_while_open) {
  const unsigned id = ++last_id_;
  auto open = std::make_unique<OpenCall>();
  open->environment = this;
  open->keep_alive = keep_alive_while_open;
  open->generation = guest::generation();
  open->thread = std::thread([this, id, call = open.get(), work = std::move(work)] { run(id, *call, work); });
  if (keep_alive_while_open) keep_alive(+1);
  calls_.emplace(id, std::move(open));
  return id;
}

void Environment::run(unsigned id, OpenCall &open, const Work &work) {
  call_of_thread_ = &open;
  const auto failed = [&](const guest::Error &error) {
    post([this, id, error](Napi::Env env) { deliver(env, id, nullptr, &error); });
  };
  try {
    Answer answer = work(&open.call);
    post([this, id, answer = std::move(answer)](Napi::Env env) { deliver(env, id, answer, nullptr); });
  } catch (const guest::Error &error) {
    if (error.code == guest::error_cancelled && open.interrupted) {
      failed(guest::Error(GC_E_INTERRUPTED_BY_CLONE,
                          "the call was open when its domain cloned, and this is the clone: "
                          "it continues in the domain that made it; repeat it here"));
    } else {
      failed(error);
    }
  } catch (const std::exception &failure) {  // out of memory or descriptors
    failed(guest::Error(GC_E_HOST_UNREACHABLE, std::string("the call could not be made: ") + failure.what()));
  }
}

void Environment::cancel(unsigned id) {
  const auto found = calls_.find(id);
  if (found != calls_.end()) found->second->call.cancel();
}

void Environment::close() {
  if (closed_) return;
  closed_ = true;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (auto &[id, open] : calls_) open->call.cancel();
  for (auto &[id, open] : calls_) open->thread.join();
  calls_.clear();
  if (keeping_alive_ > 0) keep_alive(-keeping_alive_);
}

void Environment::keep_alive(int change) {
  const bool before = keeping_alive_ > 0;
  keeping_alive_ += change;
  const bool now = keeping_alive_ > 0;
  if (now && !before) napi_ref_threadsafe_function(env_, messages_);
  if (before && !now) napi_unref_threadsafe_function(env_, messages_);
}

bool Environment::post(Message message) {
  auto *data = new Message(std::move(message));
  if (napi_call_threadsafe_function(messages_, data, napi_tsfn_nonblocking) == napi_ok) return true;
  delete data;
  return false;
}

void Environment::on_message(napi_env raw_env, napi_value, void *context, void *data) {
  std::unique_ptr<Message> message(static_cast<Message *>(data));
  auto *self = static_cast<Environment *>(context);
  if (raw_env == nullptr || self->closed_) return;  // it was in progress when the environment ended
  Napi::Env env(raw_env);
  try {
    self->notice_clone(env);
    (*message)(env);
  } catch (const Napi::Error &error) {
    // Thrown by the program's callback: as with every callback in Node, nothing can catch it.
    napi_fatal_exception(raw_env, error.Value());
  }
}

void Environment::deliver(Napi::Env env, unsigned id, const Answer &answer, const guest::Error *error) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  const std::unique_ptr<OpenCall> open = std::move(found->second);
  calls_.erase(found);
  open->thread.join();  // it has nothing left to do
  if (open->keep_alive) keep_alive(-1);
  Napi::Value failure = error ? to_js(env, *error).Value() : env.Undefined();
  deliver_.Call({Napi::Number::New(env, id), failure, answer ? answer(env) : env.Undefined()});
}

// ---- orders

void Environment::take_orders(Napi::Function order) {
  order_ = Napi::Persistent(order);
  std::lock_guard lock(taker_mutex);
  taker = this;
  guest::carry_out_orders_with([](const std::string &ticket, int) {
    std::lock_guard lock(taker_mutex);
    if (taker == nullptr) throw guest::Error(GC_E_CLONE_FAILED, "the worker that called serve() has ended");
    taker->carry_out(ticket);
  });
}

void Environment::carry_out(const std::string &ticket) {
  std::unique_lock lock(mutex_);
  const unsigned number = ++last_order_;
  order_result_.reset();
  const bool posted = post([this, number, ticket](Napi::Env env) {
    order_.Call({Napi::Number::New(env, number), Napi::String::New(env, ticket)});
  });
  changed_.wait(lock, [&] { return order_result_ || closing_ || !posted; });
  if (!order_result_) throw guest::Error(GC_E_CLONE_FAILED, "the program is exiting");
  if (order_result_->code != GC_OK) throw *order_result_;
}

void Environment::order_done(unsigned number, const guest::Error *error) {
  {
    std::lock_guard lock(mutex_);
    if (number != last_order_) return;
    order_result_ = error != nullptr ? *error : guest::Error(GC_OK, "");
  }
  changed_.notify_all();
}

// ---- around a clone

void Environment::on_clone(int) {
  std::lock_guard lock(environments_mutex);
  std::vector<void *> known;
  for (const Environment *environment : environments) known.push_back(environment->isolate_);
  // The environment that stands still runs the handlers before anything else.
  renew_isolates(guest::thread_pointers(), known,
                 call_of_thread_ ? call_of_thread_->environment->isolate_ : nullptr);
  for (Environment *environment : environments)
    environment->post([](Napi::Env) {});  // wakes it: notice_clone()
}

// In the main thread, in the middle of a wait: the lock is not waited for, as it may be the one that this thread holds.
void Environment::on_copy_of_child() {
  std::set<void *> isolates{current_isolate()};
  if (const std::unique_lock lock(environments_mutex, std::try_to_lock); lock)
    for (const Environment *environment : environments) isolates.insert(environment->isolate_);
  for (void *const isolate : isolates) renew_isolate(isolate);
}

void Environment::notice_clone(Napi::Env) {
  const unsigned generation = guest::generation();
  if (generation == generation_) return;
  generation_ = generation;
  // Calls of the domain that cloned: most have failed by themselves, but one whose thread had not yet sent
  // anything to the host would continue as a call of this domain.
  for (auto &[id, open] : calls_) {
    if (open->generation == generation) continue;
    open->interrupted = true;
    open->call.cancel();
  }
  cloned_.Call({Napi::Number::New(env_, guest::vmid())});
}

void Environment::hold(OpenCall &open) {
  const auto hold = std::make_shared<Hold>();
  std::unique_lock lock(mutex_);
  const bool posted = post([this, hold](Napi::Env env) { stand_still(env, *hold); });
  changed_.wait(lock, [&] { return hold->standing || closing_ || !posted; });
  if (hold->standing && !open.call.cancelled()) {
    open.hold = hold;
    return;
  }
  hold->over = true;
  changed_.notify_all();
  throw guest::Error(guest::error_cancelled, "cancelled before the process was copied");
}

void Environment::release(OpenCall &open) {
  {
    std::lock_guard lock(mutex_);
    open.hold->over = true;
    open.generation = guest::generation();  // the call that cloned is valid in the clone too
  }
  open.hold.reset();
  changed_.notify_all();
}

void Environment::stand_still(Napi::Env env, Hold &hold) {
  {
    std::unique_lock lock(mutex_);
    hold.standing = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return hold.over; });
  }
  notice_clone(env);
}

}  // namespace gridcentric::node
