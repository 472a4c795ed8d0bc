// A host with its own socket, in a thread of the test, and guests that speak to it line by line.
#pragma once
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <gridcentric/host.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

class Guest {
 public:
  explicit Guest(const std::string &path, const std::string &hello = "") {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(fd_, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
    if (!hello.empty()) greeting = say("gridcentric/1 " + hello);
  }
  Guest(Guest &&other) noexcept
      : greeting(std::move(other.greeting)),
        fd_(std::exchange(other.fd_, -1)),
        buffer_(std::move(other.buffer_)),
        read_(std::exchange(other.read_, 0)) {}
  ~Guest() { hang_up(); }

  void hang_up() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  // False: the host has closed.
  bool write(const std::string &bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
      const ssize_t size = send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (size < 0) return false;
      at += static_cast<std::size_t>(size);
    }
    return true;
  }
  // Sends the bytes with descriptors.
  void write_with(const std::string &bytes, const std::vector<int> &fds) {
    iovec part{const_cast<char *>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char space[CMSG_SPACE(16 * sizeof(int))] = {};
    REQUIRE(fds.size() <= 16);
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    REQUIRE(sendmsg(fd_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  // Sends as much as the socket accepts without blocking.
  std::size_t write_some(const std::string &bytes) {
    const ssize_t size = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return size < 0 ? 0 : static_cast<std::size_t>(size);
  }
  // The next line; "<closed>" when the host has closed.
  std::string read() {
    for (;;) {
      const std::size_t end = buffer_.find('\n', read_);
      if (end != std::string::npos) {
        std::string line = buffer_.substr(read_, end - read_);
        read_ = end + 1;
        return line;
      }
      buffer_.erase(0, std::exchange(read_, 0));
      char bytes[65536];
      const ssize_t size = recv(fd_, bytes, sizeof bytes, 0);
      if (size <= 0) return "<closed>";
      buffer_.append(bytes, static_cast<std::size_t>(size));
    }
  }
  std::string say(const std::string &line) {
    write(line + "\n");
    return read();
  }
  // All lines up to and including the final one.
  std::vector<std::string> list(const std::string &line) {
    write(line + "\n");
    std::vector<std::string> lines;
    do lines.push_back(read());
    while (lines.back().find(" item ") != std::string::npos);
    return lines;
  }

  std::string greeting;

 private:
  int fd_ = -1;
  std::string buffer_;
  std::size_t read_ = 0;  // bytes of it
};

inline std::string word_of(const std::string &line, int index) {
  std::size_t at = 0;
  for (; index > 0; --index) at = line.find(' ', at) + 1;
  return line.substr(at, line.find(' ', at) - at);
}

// The part of an error that is the same in every host: "7 error timed_out".
inline std::string error_of(const std::string &line) {
  return word_of(line, 0) + " " + word_of(line, 1) + " " + word_of(line, 2);
}

struct TestHost {
  using MakeHypervisor = std::function<std::unique_ptr<gridcentric::Hypervisor>(gridcentric::Loop &)>;

  explicit TestHost(bool control_channel = true, std::int64_t cpus = 8,
                    const std::string &hypervisor = "fake", MakeHypervisor make_hypervisor = nullptr) {
    char folder[] = "/tmp/gridcentric-test-XXXXXX";
    REQUIRE(mkdtemp(folder));
    folder_ = folder;
    gridcentric::HostOptions options;
    options.socket = folder_ + "/host.sock";
    options.hypervisor = hypervisor;
    options.make_hypervisor = std::move(make_hypervisor);
    options.cpus = cpus;
    options.control = control_channel;
    options.seed = 1;
    options.handle_signals = false;
    options.print_listening = false;
    std::promise<void> ready;
    options.on_ready = [&](const std::string &, std::function<void()> stop) {
      stop_ = std::move(stop);
      ready.set_value();
    };
    thread_ = std::thread([this, options] { result_ = gridcentric::run_host(options, &error_); });
    ready.get_future().wait();
    path = options.socket;
  }
  ~TestHost() {
    stop_();
    thread_.join();
    CHECK(result_ == 0);
    CHECK(access(path.c_str(), F_OK) != 0);
    CHECK(rmdir(folder_.c_str()) == 0);
  }

  Guest guest(const std::string &hello) { return Guest(path, hello); }
  std::string path;

 private:
  std::string folder_;
  std::string error_;
  std::function<void()> stop_;
  std::thread thread_;
  int result_ = -1;
};
