// What a driver in Python is handed, as C++: its way to the host, and the requests that it answers. For host.cpp.
// Everything here may be used from any thread that has the GIL; what comes of it happens on the host's loop.
#pragma once
#include <fcntl.h>
#include <gridcentric/gc-guest.h>
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <gridcentric/hypervisor.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace gridcentric::python {

namespace py = pybind11;

inline EndKind end_kind(const std::string &word) {
#define GC_END_KIND(NAME, kind) \
  if (word == #kind) return EndKind::kind;
#include <gridcentric/vocabulary.def>
  throw py::value_error("how: expected joined, exited, killed or lost, got " + word);
}

inline OnExit on_exit_of(const std::string &word) {
  if (word.empty()) return OnExit::by_bye;
  if (word == "end") return OnExit::end;
  if (word == "keep") return OnExit::keep;
  throw py::value_error("on_exit: expected end, keep or an empty string, got " + word);
}

// A driver's answer to reserve(), which it can give once, from any thread.
class Answer {
 public:
  explicit Answer(std::function<void(Reservation)> give) : give_(std::move(give)) {}
  void give(Reservation reservation) {
    if (auto give = std::exchange(give_, nullptr)) give(std::move(reservation));
  }

 private:
  std::function<void(Reservation)> give_;
};

// The path back to the host's loop. It outlives the host: what arrives after the host's end is dropped.
class ListenerHandle {
 public:
  explicit ListenerHandle(Loop &loop) : loop_(&loop) {}

  // False: the host is gone.
  bool post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (loop_ == nullptr) return false;
    loop_->post(std::move(work));
    return true;
  }
  void ended(DomainKey domain, const std::string &how, int status) {
    const EndKind kind = end_kind(how);
    post([this, domain, kind, status] {
      if (listener != nullptr) listener->ended(domain, kind, status);
    });
  }
  void new_family(const std::string &name, const std::string &on_exit,
                  std::function<void(DomainKey, std::string)> done) {
    const OnExit exit = on_exit_of(on_exit);
    must_post([this, name, exit, done = std::move(done)]() mutable {
      const NewFamily family = listener->new_family(name, exit);
      done(family.master, family.id);
      done = nullptr;  // it holds Python objects
    });
  }
  void bye(DomainKey master, std::function<void()> done) {
    must_post([this, master, done = std::move(done)]() mutable {
      listener->bye(master);
      done();
      done = nullptr;
    });
  }
  void room() {
    post([this] {
      if (listener != nullptr) listener->room();
    });
  }
  void host_is_gone() {
    const std::lock_guard lock(mutex_);
    loop_ = nullptr;
  }

  Hypervisor::Listener *listener = nullptr;  // used only on the host's thread

 private:
  void must_post(std::function<void()> work) {
    if (!post(std::move(work))) throw std::runtime_error("the host has ended");
  }

  std::mutex mutex_;
  Loop *loop_;
};

// A cloning that the driver was asked for.
class Cloning {
 public:
  Cloning(std::shared_ptr<ListenerHandle> host, CloneRequest request, std::function<void(CloneResult)> done)
      : request(std::move(request)), host_(std::move(host)), done_(std::move(done)) {}

  const CloneRequest request;

  // Exactly one of the two is heard. `then` is called on the host's thread when the host knows.
  void made(std::function<void()> then) { finish({true, 0, ""}, std::move(then)); }
  void failed(const std::string &reason, bool not_supported, std::function<void()> then) {
    finish({false, not_supported ? GC_E_NOT_SUPPORTED : GC_E_CLONE_FAILED, reason}, std::move(then));
  }

  // Tells the process that asked to clone itself; each of its answers goes to on_answer(kind, value) on the host's thread.
  void order(const std::string &mode, const std::vector<std::pair<int, std::string>> &clones,
             std::function<void(std::string, py::object)> on_answer) {
    CloneOrder order{mode, {}};
    for (const auto &[vmid, address] : clones) order.clones.push_back({vmid, address});
    host_->post([caller = request.caller, order = std::move(order), on_answer = std::move(on_answer)] {
      caller->on_answer([on_answer](const CloneAnswer &answer) { hand_over(answer, on_answer); });
      caller->order(order);
    });
  }

 private:
  void finish(CloneResult result, std::function<void()> then) {
    auto done = std::exchange(done_, nullptr);
    if (!done) return;
    host_->post([done = std::move(done), result = std::move(result), then = std::move(then)]() mutable {
      done(result);
      const py::gil_scoped_acquire gil;
      if (then) then();
      then = nullptr;  // it holds Python objects
    });
  }

  static py::object value_of(const clone_answer::Held &held) {
    py::list descriptors;  // copies: ours are closed with the answer
    for (const OwnedFd &pidfd : held.pidfds) descriptors.append(::fcntl(pidfd.get(), F_DUPFD_CLOEXEC, 0));
    return descriptors;
  }
  static py::object value_of(const clone_answer::Bound &bound) {
    return py::make_tuple(bound.port.tcp, bound.port.v6, bound.port.port);
  }
  static py::object value_of(const clone_answer::Forked &forked) { return py::int_(forked.clones); }
  static py::object value_of(const clone_answer::Failed &failed) {
    return py::make_tuple(failed.error, failed.reason);
  }

  static void hand_over(const CloneAnswer &answer,
                        const std::function<void(std::string, py::object)> &on_answer) {
    static constexpr const char *kinds[] = {"held", "bound", "forked", "failed"};
    const py::gil_scoped_acquire gil;
    try {
      on_answer(kinds[answer.index()], std::visit([](const auto &one) { return value_of(one); }, answer));
    } catch (py::error_already_set &raised) {
      raised.discard_as_unraisable("a driver's on_answer");
    }
  }

  std::shared_ptr<ListenerHandle> host_;
  std::function<void(CloneResult)> done_;
};

}  // namespace gridcentric::python
