// gc-agent: PID 1 of a VM. Brings the machine up, carries the guest protocol of all its processes to the host, starts
// the program, and makes a clone another machine before its user code goes on.
// It carries bytes: what the processes and the host say to each other is no business of its.
//
// Control lines (frames.hpp, stream 0), tokens separated by a space, percent-encoded where they may hold one:
//   driver -> agent
//     become ID VMID FAMILY IP PREFIX MAC GATEWAY HOSTNAME MACHINE_ID CLOCK_NS SEED    first of all, and in each clone
//     keep ID STREAM        in a clone, after `become`: all connections of processes but this one are cut
//     run STREAM CWD ARGV...                start a program: its input, output and errors are this stream
//     quiesce ID            say nothing more until `resume` or `become`, so that nothing is under way at the stop
//     resume ID             in the master
//     poweroff
//   agent -> driver
//     up MS                 the machine is up, MS after the kernel began
//     done ID [TEXT]        answer; TEXT: what could not be done
//     exited STREAM CODE    the program has ended, 128 + signal if by one
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/agent/frames.hpp"
#include "core/agent/machine.hpp"

namespace gridcentric::agent {
namespace {

constexpr const char *socket_path = "/run/gridcentric/host.sock";
constexpr std::size_t output_limit = 4 << 20;  // bytes for a process that does not read: it is cut off above
constexpr std::uint32_t first_own_stream = 0x80000000;  // streams the driver opens have the lower numbers

struct Stream {
  int fd = -1;
  std::string out;          // for the process
  bool peer_done = false;   // the driver has closed: close when out is written
  bool input_done = false;  // end of file from the process
};

std::string percent_decoded(const std::string &text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); i++) {
    if (text[i] == '%' && i + 2 < text.size()) {
      result.push_back(static_cast<char>(std::strtol(text.substr(i + 1, 2).c_str(), nullptr, 16)));
      i += 2;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

class Agent {
 public:
  explicit Agent(int channel) : channel_(channel) {
    unlink(socket_path);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, socket_path);
    if (bind(listener_, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
        listen(listener_, 512) != 0)
      std::perror("gc-agent: host.sock");
    chmod(socket_path, 0666);  // every user of the machine is the same guest
    timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    say("up " + std::to_string(now.tv_sec * 1000 + now.tv_nsec / 1000000));
  }

  [[noreturn]] void run() {
    for (;;) step();
  }

 private:
  void say(const std::string &line) { append_frame(out_, 0, Kind::control, line); }

  void step() {
    std::vector<pollfd> fds;
    std::vector<std::uint32_t> ids;
    fds.push_back({channel_, static_cast<short>(POLLIN | (out_.empty() ? 0 : POLLOUT)), 0});
    // While it is quiet, or the driver is slow, no process is read from: what they say waits in their sockets.
    const bool listening = !quiet_ && out_.size() < output_limit;
    fds.push_back({listening ? listener_ : -1, POLLIN, 0});
    for (const auto &[id, stream] : streams_) {
      const bool read = listening && !stream.input_done;
      fds.push_back(
          {stream.fd, static_cast<short>((read ? POLLIN : 0) | (stream.out.empty() ? 0 : POLLOUT)), 0});
      ids.push_back(id);
    }
    poll(fds.data(), fds.size(), 1000);
    if (!quiet_) reap();
    if (fds[0].revents & POLLHUP) usleep(2000);  // nobody has opened the host's end
    if (fds[0].revents & POLLIN) read_channel();
    if (fds[1].revents & POLLIN) accept_process();
    for (std::size_t i = 0; i < ids.size(); i++) {
      const auto found = streams_.find(ids[i]);
      if (found == streams_.end()) continue;
      if (fds[i + 2].revents & POLLOUT) write_process(ids[i], found->second);
      if (fds[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) read_process(ids[i]);
    }
    write_channel();
  }

  void read_channel() {
    char buffer[65536];
    ssize_t n;
    while ((n = read(channel_, buffer, sizeof buffer)) > 0) in_.append(buffer, static_cast<std::size_t>(n));
    Frame frame;
    for (;;) {
      const Parsed parsed = take_frame(in_, frame);
      if (parsed == Parsed::need_more) return;
      if (parsed == Parsed::garbage) {
        std::fprintf(stderr, "gc-agent: garbage on the channel\n");
        in_.clear();
        return;
      }
      take(frame);
    }
  }

  void write_channel() {
    while (!out_.empty()) {
      const ssize_t n = write(channel_, out_.data(), out_.size());
      if (n <= 0) return;
      out_.erase(0, static_cast<std::size_t>(n));
    }
  }

  void take(const Frame &frame) {
    if (frame.kind == Kind::control) return control(frame.payload);
    const auto found = streams_.find(frame.stream);
    if (found == streams_.end()) return;  // a stream that was cut: what was still under way is for nobody
    if (frame.kind == Kind::data) found->second.out += frame.payload;
    if (frame.kind == Kind::close) found->second.peer_done = true;
    write_process(frame.stream, found->second);
  }

  void accept_process() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    const std::uint32_t id = next_stream_++;
    streams_[id].fd = fd;
    append_frame(out_, id, Kind::open, "");
  }

  void read_process(std::uint32_t id) {
    Stream &stream = streams_[id];
    char buffer[max_payload];
    const ssize_t n = read(stream.fd, buffer, sizeof buffer);
    if (n > 0) return append_frame(out_, id, Kind::data, {buffer, static_cast<std::size_t>(n)});
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    cut(id, true);
  }

  void write_process(std::uint32_t id, Stream &stream) {
    while (!stream.out.empty()) {
      ssize_t n = send(stream.fd, stream.out.data(), stream.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == ENOTSOCK) n = write(stream.fd, stream.out.data(), stream.out.size());
      if (n < 0 && errno == EAGAIN && stream.out.size() < output_limit) return;
      if (n <= 0) return cut(id, true);
      stream.out.erase(0, static_cast<std::size_t>(n));
    }
    if (stream.peer_done) {
      if (id < first_own_stream) {
        shutdown(stream.fd, SHUT_WR);  // end of the program's input; its output goes on
        stream.peer_done = false;
      } else {
        cut(id, false);
      }
    }
  }

  void cut(std::uint32_t id, bool tell) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    close(found->second.fd);
    streams_.erase(found);
    if (tell) append_frame(out_, id, Kind::close, "");
  }

  void control(const std::string &line) {
    std::istringstream words(line);
    std::string verb, id;
    words >> verb >> id;
    if (verb == "run") return run_program(static_cast<std::uint32_t>(std::stoul(id)), words);
    if (verb == "poweroff") {
      sync();
      reboot(RB_POWER_OFF);
      return;
    }
    std::string trouble;
    if (verb == "quiesce") {
      quiet_ = true;
    } else if (verb == "resume") {
      quiet_ = false;
    } else if (verb == "keep") {
      std::uint32_t kept = 0;
      words >> kept;
      std::vector<std::uint32_t> gone;
      for (const auto &[stream, state] : streams_)
        if (stream != kept && stream >= first_own_stream) gone.push_back(stream);
      for (const std::uint32_t stream : gone) cut(stream, false);
    } else if (verb == "become") {
      Identity who;
      words >> who.vmid >> who.family >> who.ip >> who.prefix >> who.mac >> who.gateway >> who.hostname >>
          who.machine_id >> who.clock_ns >> who.seed;
      trouble = words ? become(who) : "not understood: " + line;
      quiet_ = false;
    } else {
      trouble = "unknown: " + verb;
    }
    say("done " + id + (trouble.empty() ? "" : " " + trouble));
  }

  void run_program(std::uint32_t id, std::istringstream &words) {
    std::string folder, word;
    words >> folder;
    std::vector<std::string> arguments;
    while (words >> word) arguments.push_back(percent_decoded(word));
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return say("exited " + std::to_string(id) + " 126");
    const pid_t pid = fork();
    if (pid == 0) {
      for (int fd = 0; fd < 3; fd++) dup2(pair[1], fd);
      setsid();
      signal(SIGPIPE, SIG_DFL);
      setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
      setenv("HOME", "/root", 1);
      setenv("GRIDCENTRIC_HOST", (std::string("unix:") + socket_path).c_str(), 1);
      setenv("GRIDCENTRIC_IDENTITY", "/run/gridcentric/identity", 1);
      std::vector<char *> argv;
      for (std::string &argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      if (chdir(percent_decoded(folder).c_str()) != 0) chdir("/");
      if (!arguments.empty()) execvp(argv[0], argv.data());
      dprintf(2, "%s: %s\n", arguments.empty() ? "run" : argv[0], std::strerror(errno));
      _exit(127);
    }
    close(pair[1]);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    streams_[id].fd = pair[0];
    if (pid > 0) programs_[pid] = id;
  }

  void reap() {
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto found = programs_.find(pid);
      if (found == programs_.end()) continue;
      const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      // What it has written and nobody has read yet comes before the word that it has ended.
      const auto stream = streams_.find(found->second);
      if (stream != streams_.end()) {
        char buffer[max_payload];
        for (ssize_t n; (n = read(stream->second.fd, buffer, sizeof buffer)) > 0;)
          append_frame(out_, found->second, Kind::data, {buffer, static_cast<std::size_t>(n)});
      }
      say("exited " + std::to_string(found->second) + " " + std::to_string(code));
      programs_.erase(found);
    }
  }

  int channel_;
  int listener_ = -1;
  bool quiet_ = false;
  std::string in_, out_;
  std::map<std::uint32_t, Stream> streams_;
  std::map<pid_t, std::uint32_t> programs_;
  std::uint32_t next_stream_ = first_own_stream;
};

}  // namespace
}  // namespace gridcentric::agent

int main() {
  using namespace gridcentric::agent;
  if (getpid() != 1) {
    std::fprintf(stderr,
                 "gc-agent is PID 1 of a VM of the qemu hypervisor; it is started by its image's kernel\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  bring_up();
  const int channel = open_port("agent");
  static Agent agent(channel);
  agent.run();
}
