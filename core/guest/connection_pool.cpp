#include "core/guest/connection_pool.hpp"

#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>

#include "core/guest/attach.hpp"
#include "core/guest/clone_handlers.hpp"
#include "core/guest/machine_page.hpp"
#include "core/guest/orders.hpp"
#include "core/guest/private_host.hpp"

namespace gridcentric::guest {
namespace {

constexpr std::size_t most_idle = 16;
constexpr int bye_wait_ms = 1000;  // a host that does not answer must not keep a program from ending

// One word on a page that the kernel wipes in every child process: 0 says "copied, and nobody has looked yet".
std::atomic<std::uint32_t> *make_copy_mark() {
  void *page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) std::abort();  // no memory for one page while the library is loaded
  ::madvise(page, 4096, MADV_WIPEONFORK);
  auto *mark = new (page) std::atomic<std::uint32_t>(1);
  return mark;
}

struct Pool {
  std::mutex lock;        // for all below that is not atomic; never held while waiting for a host
  std::mutex start_lock;  // one thread at a time finds or starts the host
  std::vector<std::unique_ptr<Connection>> idle;
  std::vector<int> open;  // descriptors of all connections, leased ones too: a fork()ed child closes them
  std::atomic<unsigned> generation{0};
  std::atomic<const Identity *> identity{nullptr};
  std::vector<std::unique_ptr<const Identity>>
      identities;  // keeps every one: my_ip() may be reading an old one
  std::string host_path;
  std::string started_path;  // the same where this process has started it
  std::atomic<bool> cloning{false};
  std::atomic<std::uint32_t> machine{0};  // of machine_page.hpp, as this process last saw it
  std::atomic<bool> forked{false};
  pid_t master_pid = -1;  // the process that says bye when it ends; -1: nobody does
  std::atomic<std::uint32_t> *copy_mark = make_copy_mark();
};

void prepare_fork();
void after_fork_in_parent();
void after_fork_in_child();
void say_bye(int status, void *);

// on_exit() knows nothing of libraries: what it is to call has to stay where it is, also when the worker of Node that
// loaded us ends.
void stay_loaded() {
  Dl_info own{};
  if (::dladdr(reinterpret_cast<void *>(&stay_loaded), &own) != 0 && own.dli_fname != nullptr) {
    ::dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  }
}

// Never destroyed: threads may still call while the process ends.
Pool &pool() {
  static Pool &instance = []() -> Pool & {
    auto *made = new Pool;
    made->machine = machine_generation();
    ::pthread_atfork(prepare_fork, after_fork_in_parent, after_fork_in_child);
    stay_loaded();
    ::on_exit(say_bye, nullptr);
    return *made;
  }();
  return instance;
}

void prepare_fork() {
  pool().start_lock.lock();
  pool().lock.lock();
}

void after_fork_in_parent() {
  pool().lock.unlock();
  pool().start_lock.unlock();
}

void after_fork_in_child() {
  Pool &s = pool();
  for (auto &connection : s.idle) std::erase(s.open, connection->fd());
  s.idle.clear();
  for (const int fd : s.open) ::close(fd);  // leased by threads that do not exist here
  s.open.clear();
  s.forked = true;
  s.cloning = false;  // the thread that was cloning does not exist here
  s.master_pid = -1;
  s.copy_mark->store(1);
  s.lock.unlock();
  s.start_lock.unlock();
}

// With s.lock held: nothing of the copied process's connections is of use here.
void forget_connections(Pool &s) {
  for (auto &connection : s.idle) std::erase(s.open, connection->fd());
  s.idle.clear();  // leased ones are closed by the calls that hold them
  s.master_pid = -1;
  s.generation.fetch_add(1);
}

void publish(Pool &s, Identity identity);

// A whole machine became another one: the agent has cut its connections, and says on its page who it is now.
void follow_machine(Pool &s) {
  if (!in_machine()) return;
  const std::uint32_t now = machine_generation();
  if (s.machine == now && s.identity != nullptr) return;
  {
    std::lock_guard guard(s.lock);
    if (s.machine != now) forget_connections(s);
    const MachineIdentity who = machine_identity();
    publish(s, {who.family, who.vmid, who.ip, who.parent, who.hypervisor});
    s.machine = now;  // last: other threads take it as the word that all of the above is done
  }
  notice_other_machine();
}

// Returns once it is known which domain this process is, or that it must be asked.
void settle() {
  Pool &s = pool();
  follow_machine(s);
  while (s.copy_mark->load(std::memory_order_acquire) == 0) {
    if (s.cloning) {
      // The thread that cloned is alive here too and is about to call become().
      ::syscall(SYS_futex, s.copy_mark, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
      continue;
    }
    std::lock_guard guard(s.lock);
    if (s.copy_mark->load() != 0) return;
    forget_connections(s);
    s.identity = nullptr;
    s.copy_mark->store(1, std::memory_order_release);
  }
}

std::string host_path(Pool &s) {
  std::lock_guard guard(s.start_lock);
  if (s.host_path.empty()) {
    const bool starts = !names_host() && !in_machine();
    s.host_path = find_or_start_host();
    if (starts) s.started_path = s.host_path;
  }
  return s.host_path;
}

// The private host of a master may be gone (killed, out of memory), and its clones with it. The master goes on: as the master
// of a new family, with a new private host. False: this is another case.
bool begin_anew(Pool &s, const std::string &path) {
  std::lock_guard guard(s.start_lock);
  if (s.host_path != path) return true;  // another thread has been here
  if (s.started_path != path || s.master_pid != ::getpid() || !nobody_listens(path)) return false;
  s.host_path = s.started_path = start_host();
  return true;
}

// With s.lock held.
void publish(Pool &s, Identity identity) {
  const Identity *old = s.identity;
  if (old != nullptr && old->family == identity.family && old->vmid == identity.vmid) return;
  s.identities.push_back(std::make_unique<const Identity>(std::move(identity)));
  s.identity = s.identities.back().get();
}

std::unique_ptr<Connection> connect(Call *call, unsigned generation, int wait_ms) {
  Pool &s = pool();
  const std::string handshake = attach_handshake(s.identity, s.forked), path = host_path(s);
  std::unique_ptr<Connection> connection;
  try {
    connection = std::make_unique<Connection>(path, handshake, call, wait_ms);
  } catch (const Error &error) {
    if (error.code != GC_E_HOST_UNREACHABLE || founds_nothing() || !begin_anew(s, path)) throw;
    connection = std::make_unique<Connection>(host_path(s), handshake, call, wait_ms);
  }
  Identity identity = parse_greeting(connection->greeting());
  {
    std::lock_guard guard(s.lock);
    s.open.push_back(connection->fd());
    if (s.generation == generation) {
      // Of a VM, the end of its program is the end of the domain, and whoever started it says so.
      if (identity.vmid == 0 && attaches(handshake) && !in_machine()) s.master_pid = ::getpid();
      publish(s, std::move(identity));
    }
  }
  if (attaches(handshake)) serve_if_told();
  return connection;
}

// At a normal exit of the domain's own process its clones may finish their work (docs/protocol.md, rule 13). One that ends
// with an error, like an exception that nobody caught, vanishes without a word, as if it had been killed: nobody is left
// who would collect the clones.
void say_bye(int status, void *) {
  Pool &s = pool();
  if (status != 0 || s.master_pid != ::getpid() || s.copy_mark->load() == 0) return;
  try {
    Lease lease(nullptr);
    lease->send("1 bye");
    lease->receive(nullptr, bye_wait_ms);
  } catch (...) {
    // There is nobody left to tell: the host is gone, and the family with it.
  }
}

}  // namespace

const Identity &known_identity(Call *call) {
  settle();
  Pool &s = pool();
  for (;;) {
    if (const Identity *known = s.identity.load(std::memory_order_acquire)) return *known;
    try {
      Lease(call).done();  // the handshake of a new connection tells
    } catch (const Error &error) {
      if (error.code != GC_E_INTERRUPTED_BY_CLONE) throw;  // a clone asks once more who it is
    }
  }
}

unsigned generation() noexcept {
  settle();
  return pool().generation;
}

bool is_forked_child() noexcept { return pool().forked; }

Lease::NotCancellable::NotCancellable() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before); }

Lease::NotCancellable::~NotCancellable() { ::pthread_setcancelstate(before, nullptr); }

Lease::Lease(Call *call, const Patience *patience) {
  if (call != nullptr && call->cancelled())
    throw Error(error_cancelled, "the call was cancelled before it began");
  settle();
  Pool &s = pool();
  generation_ = s.generation;
  for (;;) {
    std::lock_guard guard(s.lock);
    if (s.idle.empty()) break;
    connection_ = std::move(s.idle.back());
    s.idle.pop_back();
    if (connection_->idle()) return;
    std::erase(s.open, connection_->fd());  // the host restarted, or ended
    connection_.reset();
  }
  const bool endless = patience == nullptr || patience->is_endless();
  try {
    connection_ = connect(call, generation_, endless ? -1 : patience->left_ms() + Patience::answer_ms);
  } catch (const Error &error) {
    if (error.code == GC_E_HOST_UNREACHABLE && became_clone()) throw broken();
    if (error.code == GC_E_HOST_UNREACHABLE && !endless && patience->left_ms() == 0) throw silent(*patience);
    throw;
  }
}

std::string Lease::receive(Call *call, Patience &patience) {
  for (;;) {
    try {
      return connection_->receive(call, patience.left_ms());
    } catch (const Silent &) {
      // What it has said at last counts, and so does its end.
      if (!answers(host_path(pool()), call, Patience::answer_ms)) return connection_->receive(call, 0);
    }
    patience.renew();
  }
}

Error Lease::silent(const Patience &patience) {
  return Error(GC_E_TIMED_OUT, "the host at 'unix:" + host_path(pool()) +
                                   "' does not answer, it is stopped or has no processor: the call's " +
                                   std::to_string(patience.timeout()) +
                                   " ms are over, and what the host did of it is unknown");
}

Lease::~Lease() {
  if (connection_ == nullptr) return;
  Pool &s = pool();
  std::lock_guard guard(s.lock);
  if (reusable_ && s.generation == generation_ && s.idle.size() < most_idle) {
    s.idle.push_back(std::move(connection_));
  } else {
    std::erase(s.open, connection_->fd());
    connection_.reset();
  }
}

bool Lease::became_clone() const {
  settle();
  return pool().generation != generation_;
}

Error Lease::broken() const {
  if (became_clone()) {
    return Error(GC_E_INTERRUPTED_BY_CLONE,
                 "this domain was cloned while the call was open: it goes on in the domain that cloned, call "
                 "again here");
  }
  return Error(GC_E_HOST_UNREACHABLE,
               "the host at 'unix:" + host_path(pool()) +
                   "' ended or hung up in the middle of the call; what it did of it is unknown");
}

std::unique_ptr<Connection> open_connection(const std::string &handshake, Call *call) {
  return std::make_unique<Connection>(host_path(pool()), handshake, call);
}

CloningAhead::CloningAhead() { pool().cloning = true; }

CloningAhead::~CloningAhead() { pool().cloning = false; }

void become(Identity identity) {
  Pool &s = pool();
  {
    std::lock_guard guard(s.lock);
    forget_connections(s);
    s.identity = nullptr;
    publish(s, std::move(identity));
    s.copy_mark->store(1, std::memory_order_release);
  }
  ::syscall(SYS_futex, s.copy_mark, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0);
}

}  // namespace gridcentric::guest
