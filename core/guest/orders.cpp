#include "core/guest/orders.hpp"

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <mutex>

#include "core/guest/attach.hpp"
#include "core/guest/connection_pool.hpp"
#include "core/guest/exchange.hpp"
#include "core/guest/library_thread.hpp"
#include "core/guest/reply.hpp"
#include "core/guest/ticket.hpp"
#include "core/guest/tree_root.hpp"
#include "core/live_clone/tree/family.hpp"
#include "core/wire/orders.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::guest {
namespace {

constexpr int first_pause_ms = 20, longest_pause_ms = 2'000;  // between attempts to reach a host that is gone
constexpr std::size_t longest_reason = 1'000;  // bytes; the line has to hold it percent-encoded

struct Orders {
  std::mutex lock;  // never held while an order is carried out
  CarryOut carry_out;
  std::atomic<bool> serving{false};
  std::atomic<bool> in_preloaded{false};
};

void forget_thread();

// Never destroyed: the thread may be at work while the process ends.
Orders &orders() {
  static Orders &instance = []() -> Orders & {
    ::pthread_atfork(nullptr, nullptr, forget_thread);
    return *new Orders;
  }();
  return instance;
}

// In a child of fork(), where the thread does not exist: it is not the domain either, which goes on listening.
void forget_thread() { orders().serving = false; }

void carry_out(const std::string &ticket, int asker) {
  CarryOut how;
  {
    std::lock_guard guard(orders().lock);
    how = orders().carry_out;
  }
  if (how) return how(ticket, asker);
  clone(ticket);
}

// "carried_out NUMBER", or "declined NUMBER CODE TEXT" with the reason.
std::string answer_to(const wire::Order &order) {
  Error error(GC_E_CLONE_FAILED, "a handler of the program threw something that is not a std::exception");
  try {
    carry_out(order.ticket, order.pid);
    return "carried_out " + std::to_string(order.number);
  } catch (const Error &said) {
    error = said;
  } catch (const std::exception &said) {
    error.text = said.what();
  } catch (...) {
  }
  const ErrorRow *row = find_error(error.code);
  return "declined " + std::to_string(order.number) + " " + (row != nullptr ? row->word : "clone_failed") +
         " " + wire::percent_encode(wire::to_utf8(error.text, longest_reason));
}

// Returns in a clone, which was not given the order; throws Disconnected.
void take_orders(Lease &lease) {
  for (;;) {
    const std::string line = lease->receive(nullptr);
    if (line.starts_with("2 ")) continue;  // what the host says to the answer before
    const auto order = wire::read_order_to_clone(line);
    if (!order) Fields(line).malformed();
    const std::string answer = answer_to(*order);
    if (lease.became_clone()) return;
    lease->send("2 " + answer);
  }
}

// A domain that has ended, or whose host has, is not made anew by its listener: that is for a call of the program.
Lease connection_of_domain() {
  const FoundsNothing only_joins;
  return Lease(nullptr);
}

void begin_to_serve(Lease &lease) {
  lease->send("1 serve");
  const std::string reply = lease->receive(nullptr);
  if (reply == "1 ok") return;
  Fields fields(reply);
  fields.text();
  if (fields.text() != "error") fields.malformed();
  const ErrorRow *row = find_error(fields.text());
  if (row == nullptr) fields.malformed();
  throw Error(row->code, fields.tail());
}

// The thread's whole life. first: is told how the first attempt went; may be empty.
void listen(std::shared_ptr<std::promise<void>> first) {
  for (int pause_ms = first_pause_ms;; pause_ms = std::min(2 * pause_ms, longest_pause_ms)) {
    const unsigned before = generation();
    try {
      Lease lease = connection_of_domain();
      begin_to_serve(lease);
      if (first) first->set_value();
      first = nullptr;
      pause_ms = first_pause_ms;
      take_orders(lease);
    } catch (const Disconnected &) {
      if (first) {
        first->set_exception(std::make_exception_ptr(
            Error(GC_E_HOST_UNREACHABLE, "the host ended or hung up before it had answered")));
        break;
      }
    } catch (const Error &error) {
      if (first) first->set_exception(std::current_exception());
      if (first || error.code == GC_E_INVALID_ARGUMENT) break;  // a child of the domain's process
    }
    if (generation() == before) ::poll(nullptr, 0, pause_ms);  // a clone's host is there
  }
  orders().serving = false;
}

using First = std::shared_ptr<std::promise<void>>;

void *run_listener(void *given) {
  const bool for_tree = orders().in_preloaded && children_are_cloned();
  ::pthread_setname_np(::pthread_self(), for_tree ? listener_of_tree : "gc-orders");
  const std::unique_ptr<First> first(static_cast<First *>(given));
  listen(std::move(*first));
  return nullptr;
}

void start_thread(const First &first) {
  auto given = std::make_unique<First>(first);
  pthread_t thread;
  const int error = start_library_thread(&thread, run_listener, given.get());
  if (error == 0) {
    ::pthread_detach(thread);
    given.release();  // the thread's now
    return;
  }
  orders().serving = false;
  throw Error(GC_E_NOT_SUPPORTED, "cannot start a thread that listens for orders: " + system_text(error));
}

int carry_out_here(const char *ticket, int asker, char *text, std::size_t size) {
  const auto say = [&](int code, const char *reason) {
    std::strncpy(text, reason, size - 1);
    text[size - 1] = '\0';
    return code;
  };
  try {
    carry_out(ticket, asker);
    return 0;
  } catch (const Error &error) {
    return say(error.code, error.what());
  } catch (const std::exception &error) {
    return say(GC_E_CLONE_FAILED, error.what());
  } catch (...) {
    return say(GC_E_CLONE_FAILED, "a handler of the program threw something that is not a std::exception");
  }
}

}  // namespace

void is_preloaded() { orders().in_preloaded = true; }

bool carried_out_for_preloaded() {
  if (orders().in_preloaded) return false;
  static const auto use = reinterpret_cast<UseCarryOut>(::dlsym(RTLD_DEFAULT, use_carry_out_name));
  return use != nullptr && use(carry_out_here);
}

void use_family_of_preloaded() {
  using GiveFamily = live_clone::Family *(*)();
  static const auto give = reinterpret_cast<GiveFamily>(::dlsym(RTLD_DEFAULT, give_family_name));
  if (give != nullptr) live_clone::use_family(give());
}

void repair_children_with(void (*repair)()) {
  using RepairWith = void (*)(void (*)());
  static const auto repair_with = reinterpret_cast<RepairWith>(::dlsym(RTLD_DEFAULT, repair_with_name));
  if (repair_with != nullptr) repair_with(repair);
}

void carry_out_orders_with(CarryOut how) {
  {
    std::lock_guard guard(orders().lock);
    orders().carry_out = std::move(how);
  }
  carried_out_for_preloaded();
}

void serve(Call *call) {
  known_identity(call);
  if (carried_out_for_preloaded() || orders().serving.exchange(true)) return;
  const auto first = std::make_shared<std::promise<void>>();
  auto started = first->get_future();
  start_thread(first);
  started.get();
}

void serve_if_told() {
  const char *told = std::getenv("GRIDCENTRIC_SERVE");
  if (told == nullptr || std::strcmp(told, "1") != 0) return;
  if (carried_out_for_preloaded() || orders().serving.exchange(true)) return;
  start_thread(nullptr);
}

}  // namespace gridcentric::guest
