// A scripted host for the tests of the guest: listens on its own socket, records every line that arrives and answers as the
// test says. The client has one state per process, so there is one peer per process; each test sets its behaviour.
#pragma once
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

class Peer {
 public:
  // The answer to a line (without its newline): whole lines, or "" for none, or `hang_up`.
  using Script = std::function<std::string(const std::string &line)>;
  static constexpr const char *hang_up = "<hang up>";
  static constexpr const char *greeting =
      "gridcentric/1 ok 11111111-1111-4111-8111-111111111111 0 10.77.0.1 - fake\n";

  static Peer &instance() {
    static Peer *peer = new Peer;  // its thread runs until the process ends
    return *peer;
  }

  // Answers a handshake and `bye`; passes everything else to the script.
  void play(Script script) {
    std::lock_guard guard(lock_);
    script_ = std::move(script);
    lines_.clear();
  }

  std::vector<std::string> lines() {
    std::lock_guard guard(lock_);
    return lines_;
  }

  // Returns once that line has arrived.
  void await_line(const std::string &line) {
    std::unique_lock guard(lock_);
    came_in_.wait(guard, [&] {
      for (const auto &each : lines_) {
        if (each == line) return true;
      }
      return false;
    });
  }

  void send_to_all(const std::string &text) {
    std::lock_guard guard(lock_);
    for (const auto &[fd, input] : connections_) say(fd, text);
  }

  // A host that is stopped: it reads nothing while this is held.
  std::unique_lock<std::mutex> stopped() { return std::unique_lock(lock_); }

  // A host that died: all connections end.
  void drop_all() {
    std::lock_guard guard(lock_);
    for (const auto &[fd, input] : connections_) ::shutdown(fd, SHUT_RDWR);
  }

  int open_connections() {
    std::lock_guard guard(lock_);
    return static_cast<int>(connections_.size());
  }

  const std::string &path() const { return path_; }

 private:
  Peer() {
    char folder[] = "/tmp/gridcentric-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
    path_ = folder_ + "/host.sock";
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(listener_, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
        ::listen(listener_, 64) != 0)
      std::abort();
    ::setenv("GRIDCENTRIC_HOST", ("unix:" + path_).c_str(), 1);
    ::setenv("GRIDCENTRIC_CLONE_MODE", "plain", 1);
    const pid_t owner = ::getpid();
    static std::string path, folder_name;
    path = path_;
    folder_name = folder_;
    static pid_t owner_pid;
    owner_pid = owner;
    std::atexit([] {
      if (::getpid() != owner_pid) return;
      ::unlink(path.c_str());
      ::rmdir(folder_name.c_str());
    });
    std::thread([this] { serve(); }).detach();
  }

  static void say(int fd, const std::string &text) {
    for (std::size_t sent = 0; sent < text.size();) {
      const auto count = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<std::size_t>(count);
    }
  }

  void serve() {
    for (;;) {
      std::vector<pollfd> entries = {{listener_, POLLIN, 0}};
      {
        std::lock_guard guard(lock_);
        for (const auto &[fd, input] : connections_) entries.push_back({fd, POLLIN, 0});
      }
      if (::poll(entries.data(), entries.size(), -1) <= 0) continue;
      std::lock_guard guard(lock_);
      if (entries[0].revents != 0) connections_[::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)];
      for (std::size_t at = 1; at < entries.size(); ++at) {
        if (entries[at].revents != 0) read_from(entries[at].fd);
      }
    }
  }

  void read_from(int fd) {
    char chunk[65536];
    const auto count = ::recv(fd, chunk, sizeof chunk, 0);
    if (count <= 0) return close(fd);
    std::string &input = connections_[fd];
    input.append(chunk, static_cast<std::size_t>(count));
    for (auto end = input.find('\n'); end != std::string::npos; end = input.find('\n')) {
      const std::string line = input.substr(0, end);
      input.erase(0, end + 1);
      lines_.push_back(line);
      came_in_.notify_all();
      const std::string answer = answer_to(line);
      if (answer == hang_up) return close(fd);
      say(fd, answer);
    }
  }

  std::string answer_to(const std::string &line) {
    if (script_) {
      const std::string answer = script_(line);
      if (!answer.empty() || !line.starts_with("gridcentric/1 ")) return answer;
    }
    if (line.starts_with("gridcentric/1 ")) return greeting;
    return line.ends_with(" bye") ? "1 ok\n" : "";
  }

  void close(int fd) {
    connections_.erase(fd);
    ::close(fd);
  }

  std::string folder_, path_;
  int listener_ = -1;
  std::mutex lock_;
  std::condition_variable came_in_;
  Script script_;
  std::vector<std::string> lines_;
  std::map<int, std::string> connections_;
};

// How many descriptors this process has.
int count_descriptors();
