// Puts a host together and runs it until it ends.
#include <arpa/inet.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <gridcentric/drivers.hpp>
#include <gridcentric/host.hpp>
#include <thread>

#include "core/host/control.hpp"
#include "core/host/host.hpp"
#include "core/host/listening_socket.hpp"
#include "core/hypervisors/process_facts.hpp"

namespace gridcentric {
namespace {

constexpr std::int64_t cpus_a_core = 64;
constexpr std::int64_t most_cpus = 2147483647;
constexpr std::int64_t private_hello_ms = 10'000;

// SIGTERM and SIGINT as a descriptor, for as long as it lives.
class EndSignals {
 public:
  explicit EndSignals(bool wanted) {
    if (!wanted) return;
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
    fd_ = signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~EndSignals() {
    if (fd_ < 0) return;
    // One that came is used up: it must not kill the program that has asked run_host() to handle it.
    signalfd_siginfo info;
    while (read(fd_, &info, sizeof info) > 0) {
    }
    close(fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  int fd() const { return fd_; }

 private:
  sigset_t signals_{};
  sigset_t before_{};
  int fd_ = -1;
};

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  while (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
  }
  return seed;
}

bool tell_path(int fd, const std::string &path) {
  const std::string line = path + "\n";
  const bool told = write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  close(fd);
  return told;
}

int fail(std::string *error, std::string text, int result) {
  *error = std::move(text);
  return result;
}

}  // namespace

int run_host(const HostOptions &options, std::string *error) {
  in_addr base{};
  if (inet_pton(AF_INET, options.address_base.c_str(), &base) != 1)
    return fail(error,
                "address base is \"" + options.address_base + "\", expected an IPv4 address like 10.77.0.0",
                2);
  if (options.cpus < 0 || options.cpus > most_cpus)
    return fail(
        error, "cpus is " + std::to_string(options.cpus) + ", expected 1 to " + std::to_string(most_cpus), 2);
  const Driver *driver = options.hypervisor.empty() ? &default_driver() : find_driver(options.hypervisor);
  if (!options.make_hypervisor && (!driver || !driver->make))
    return fail(error, "hypervisor is \"" + options.hypervisor + "\", expected " + names_of_drivers(), 2);

  const SpareDescriptor spare;
  const EndSignals signals(options.handle_signals);
  host::EpollLoop loop(options.control && !options.make_hypervisor && driver->scripted);
  if (!loop.failure().empty()) return fail(error, loop.failure(), 1);
  if (signals.fd() >= 0) loop.watch(signals.fd(), [&] { loop.stop(); });

  const std::unique_ptr<Hypervisor> hypervisor =
      options.make_hypervisor ? options.make_hypervisor(loop)
                              : driver->make(loop, {.address_base = ntohl(base.s_addr)});
  const std::int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  host::Host host(loop, *hypervisor,
                  {.cpus = options.cpus > 0 ? options.cpus : cores * cpus_a_core,
                   .seed = options.control ? options.seed : random_seed(),
                   .relay_secret = options.relay_secret,
                   .ends_with_family = options.private_fd >= 0},
                  options.control ? std::make_unique<host::Control>(*hypervisor) : nullptr);
  host::ListeningSocket listener(loop, [&](int fd, const Peer &peer) { host.accepted(fd, peer); });

  if (options.private_fd >= 0) {
    if (!listener.open_private(error)) return 1;
    if (!tell_path(options.private_fd, listener.path()))
      return fail(error, "nobody reads the path of the private host: " + std::string(std::strerror(errno)),
                  1);
    loop.call_after_real(private_hello_ms, [&] {
      if (!host.had_family()) loop.stop();
    });
  } else {
    if (!listener.open_at(options.socket.empty() ? default_socket_path() : options.socket, error)) return 1;
    if (options.print_listening) {
      std::printf("listening on unix:%s\n", listener.path().c_str());
      std::fflush(stdout);
    }
  }
  if (options.on_ready) options.on_ready(listener.path(), [&loop] { loop.post([&loop] { loop.stop(); }); });
  loop.run([&] { host.end_of_turn(); });
  return 0;
}

}  // namespace gridcentric
