// gc-agent: PID 1 of a VM, or a service beside the image's own init system. Brings the VM up, carries the guest protocol of
// all its processes to the host, starts the program, and gives a clone its own identity before its user code goes on.
// It only carries bytes: it does not know what the processes and the host say to each other.
//
// Control lines (frames.hpp, stream 0): tokens separated by a space, percent-encoded if they may contain one:
//   driver -> agent
//     become ID VMID PARENT FAMILY IP PREFIX MAC GATEWAY NAMES HOSTNAME MACHINE_ID CLOCK_NS SEED STREAM
//                           first of all, and in each clone while its programs are frozen; cuts all connections of
//                           processes except STREAM
//     init ID PATH          the image's own init system becomes PID 1; comes before any run
//     run STREAM ERRORS CWD ARGV...         start a program: its input and output are this stream; ERRORS: `apart` in separate
//                           frames, or `output`, the same pipe, which keeps the order of writes
//     quiesce ID            freeze all programs and send nothing until `go`, so that nothing is in flight at the stop
//     go ID                 in the master, and in each clone after `become`: the programs go on
//     finish ID             freeze all programs and hand over what they have written; the VM is about to be ended
//   agent -> driver
//     up MS                 the VM is up, MS after the kernel started
//     done ID [TEXT]        answer; TEXT: what failed
//     exited STREAM CODE    the program has ended; 128 + the signal if killed by one
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
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
#include <utility>
#include <vector>

#include "core/guest/machine_page.hpp"
#include "core/hypervisors/qemu/agent/frames.hpp"
#include "core/hypervisors/qemu/agent/machine.hpp"
#include "core/hypervisors/qemu/agent/programs.hpp"
#include "core/hypervisors/qemu/agent/rehearsal.hpp"
#include "core/hypervisors/qemu/agent/streams.hpp"

namespace gridcentric::agent {
namespace {

constexpr std::size_t output_limit =
    4 << 20;  // bytes queued for a driver that does not read; beyond it, processes are not read

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

// More connections than this wait to be accepted, as each takes a descriptor. The driver closes surplus ones (channel.py,
// MAX_CONNECTIONS), so there must be room for them here until it has.
constexpr std::size_t most_streams = 2048;

class Agent {
 public:
  explicit Agent(int channel) : channel_(channel) {
    unlink(guest::machine_host_path);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s", guest::machine_host_path);
    if (bind(listener_, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
        listen(listener_, 512) != 0)
      std::perror("gc-agent: host.sock");
    chmod(guest::machine_host_path, 0666);  // every user of the VM is the same guest
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    children_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
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
    fds.push_back({channel_, static_cast<short>(POLLIN | (out_.empty() ? 0 : POLLOUT)), 0});
    // While quiet, does not poll any process; what they send waits in their sockets. While the driver is slow, does not read
    // from them.
    const bool reading = out_.size() < output_limit;
    if (!quiet_) {
      fds.push_back({children_, POLLIN, 0});
      fds.push_back({reading && streams_.size() < most_streams ? listener_ : -1, POLLIN, 0});
      streams_.want(fds, reading);
    }
    poll(fds.data(), fds.size(), -1);
    if (fds[0].revents & POLLHUP) usleep(2000);  // the host's end is not open yet
    if (!quiet_) {
      if (fds[1].revents & POLLIN) reap();
      if (fds[2].revents & POLLIN) accept_process();
      streams_.serve(fds.data() + 3);
    }
    // Last, because the command may be to be quiet.
    if (fds[0].revents & POLLIN) read_channel();
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
        std::fprintf(stderr, "gc-agent: malformed frame on the channel\n");
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
    if (frame.kind != Kind::control) return streams_.take(frame, quiet_);
    line_ += frame.payload;
    if (frame.payload.size() < max_payload) control(std::exchange(line_, {}));
  }

  void accept_process() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) streams_.add_connection(fd);
  }

  void control(const std::string &line) {
    std::istringstream words(line);
    std::string verb, id;
    words >> verb >> id;
    if (verb == "run") return run_program(static_cast<std::uint32_t>(std::stoul(id)), words);
    std::string trouble;
    if (verb == "quiesce") {
      trouble = hush();
      quiet_ = trouble.empty();
    } else if (verb == "go") {
      quiet_ = false;
      thaw();
    } else if (verb == "finish") {
      trouble = hush();
    } else if (verb == "init") {
      std::string path;
      words >> path;
      trouble = hand_over(percent_decoded(path));
    } else if (verb == "become") {
      if (!become_other(words, trouble)) trouble = "malformed command: " + line;
    } else {
      trouble = "unknown command: " + verb;
    }
    say("done " + id + (trouble.empty() ? "" : " " + trouble));
  }

  // Freezes all programs; what they have sent before is passed on once, by this VM.
  std::string hush() {
    std::string trouble = freeze();
    if (trouble.empty()) {
      reap();
      streams_.drain();
    }
    return trouble;
  }

  bool become_other(std::istringstream &words, std::string &trouble) {
    Identity who;
    std::uint32_t kept = 0;
    words >> who.vmid >> who.parent >> who.family >> who.network.ip >> who.network.prefix >>
        who.network.mac >> who.network.gateway >> who.network.names >> who.hostname >> who.machine_id >>
        who.clock_ns >> who.seed >> kept;
    if (!words) return false;
    trouble = known_ ? become(who) : become_rehearsed(who);
    known_ = true;
    streams_.keep_connection(kept);
    return true;
  }

  void run_program(std::uint32_t id, std::istringstream &words) {
    std::string errors, folder, word;
    words >> errors >> folder;
    std::vector<std::string> arguments;
    while (words >> word) arguments.push_back(percent_decoded(word));
    Ends ends;
    const pid_t pid = start_program(percent_decoded(folder), arguments, errors == "apart", ends);
    if (pid < 0) return say("exited " + std::to_string(id) + " 126");
    streams_.add_program(id, ends.input, ends.output, ends.errors);
    programs_[pid] = id;
  }

  void reap() {
    signalfd_siginfo noticed;
    while (read(children_, &noticed, sizeof noticed) > 0) continue;
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto found = programs_.find(pid);
      if (found == programs_.end()) continue;
      const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      streams_.drain();  // must precede the report that it has ended
      say("exited " + std::to_string(found->second) + " " + std::to_string(code));
      programs_.erase(found);
    }
  }

  int channel_;
  int listener_ = -1;
  int children_ = -1;  // signalfd for SIGCHLD
  bool quiet_ = false;
  bool known_ = false;  // has `become` told who this VM is?
  std::string in_, out_;
  std::string line_;  // the part of a control line that has arrived
  Streams streams_{out_};
  std::map<pid_t, std::uint32_t> programs_;
};

}  // namespace
}  // namespace gridcentric::agent

int main() {
  using namespace gridcentric::agent;
  if (getpid() != 1) {
    std::fprintf(stderr, "gc-agent is PID 1 of a VM of the qemu hypervisor; its image's kernel starts it\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  take_descriptors();
  bring_up();
  const int channel = open_port("agent");
  static Agent agent(channel);
  agent.run();
}
