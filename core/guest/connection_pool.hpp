// What a process knows of its domain and its host: the pool of idle connections, who it is, how often it became another
// domain. Start reading here after client.hpp.
// It must not know: single calls and their replies (client.cpp), how clones are made (clone.cpp).
//
// A process that was copied finds out in one of three ways:
//   fork()       the library's atfork handler drops the connections; the child belongs to the same domain
//   clone()      clone.cpp says who the clone is (become()); until then its other threads wait in settle()
//   any other    (a clone made by another copy of this library, a raw clone(2)): settle() drops all, the host is asked anew
// The last two are told by a page which the kernel wipes in a child (MADV_WIPEONFORK). In a VM it is the machine that is
// cloned, with all its processes: settle() looks at a page that its agent writes (machine_page.hpp).
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "core/guest/client.hpp"
#include "core/guest/connection.hpp"
#include "core/guest/patience.hpp"

namespace gridcentric::guest {

// The domain and host of this process, asked for once and then from memory. Valid for ever (never freed).
const Identity &known_identity(Call *call);

// A connection for one call. Put back into the pool with done() when the call has had its whole reply; else it is closed.
class Lease {
 public:
  // patience: of the call; a host that does not greet in this time is TIMED_OUT.
  explicit Lease(Call *call, const Patience *patience = nullptr);
  ~Lease();
  Lease(const Lease &) = delete;
  Lease &operator=(const Lease &) = delete;

  Connection &operator*() const { return *connection_; }
  Connection *operator->() const { return connection_.get(); }
  void done() { reusable_ = true; }

  // The next line, as Connection has it. Throws Silent when the call's time is over and the host answers nobody.
  std::string receive(Call *call, Patience &patience);

  // What is to be said of a host that answers nobody.
  static Error silent(const Patience &patience);
  // Why a connection broke in the middle of a call: INTERRUPTED_BY_CLONE in a clone, else HOST_UNREACHABLE.
  Error broken() const;
  bool became_clone() const;  // this process has become another domain since the lease was taken

 private:
  // pthread_cancel() of a thread that is in a call takes effect after the call: it would unwind through code that may not throw.
  struct NotCancellable {
    NotCancellable();
    ~NotCancellable();
    int before;
  };

  NotCancellable not_cancellable_;
  std::unique_ptr<Connection> connection_;
  unsigned generation_;
  bool reusable_ = false;
};

// Another connection to the same host with its own handshake, not of the pool ("observe", "lifeline ...").
std::unique_ptr<Connection> open_connection(const std::string &handshake, Call *call);

// For clone.cpp. Between announce and its end the process is about to be copied.
class CloningAhead {
 public:
  CloningAhead();
  ~CloningAhead();
  CloningAhead(const CloningAhead &) = delete;
  CloningAhead &operator=(const CloningAhead &) = delete;
};
void become(Identity identity);  // in the clone: forget the master's connections, be this domain from now on

// Is this process a fork()ed child of a process of the domain, which the hypervisor cannot clone?
bool is_forked_child() noexcept;

}  // namespace gridcentric::guest
