// Measures a host over its socket: the round trip of a ticket, and 100,000 fake clones of 1,000 families through ticket,
// clone, sync, join. Prints lines of JSON. Usage: bench_host [FAMILIES [CLONES-OF-EACH]]
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gridcentric/host.hpp>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string &what) {
  std::fprintf(stderr, "bench_host: %s\n", what.c_str());
  std::exit(1);
}

class Line {
 public:
  explicit Line(const std::string &path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (connect(fd_, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0)
      fail("cannot connect to " + path);
  }
  Line(Line &&other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  ~Line() {
    if (fd_ >= 0) close(fd_);
  }
  void write(const std::string &text) {
    if (send(fd_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
      fail("the host hung up");
  }
  // Reads whole replies: at least `lines` lines.
  std::string read(int lines = 1) {
    std::string text;
    char bytes[65536];
    while (std::count(text.begin(), text.end(), '\n') < lines) {
      const ssize_t size = recv(fd_, bytes, sizeof bytes, 0);
      if (size <= 0) fail("the host hung up after \"" + text + "\"");
      text.append(bytes, static_cast<std::size_t>(size));
    }
    return text;
  }
  std::string say(const std::string &text) {
    write(text + "\n");
    std::string reply = read();
    reply.pop_back();
    return reply;
  }

 private:
  int fd_;
};

std::string field(const std::string &line, int index) {
  std::size_t at = 0;
  for (; index > 0; --index) at = line.find(' ', at) + 1;
  return line.substr(at, line.find_first_of(" \n", at) - at);
}

long resident_kb(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
  return 0;
}

// CPU time that the process has used: a better measure on a shared computer.
double cpu_seconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  const std::string rest = stat.substr(stat.rfind(')') + 2);
  const auto ticks = std::atol(field(rest, 11).c_str()) + std::atol(field(rest, 12).c_str());
  return static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// A master in a separate process, as `attach` requires; we speak for it on another connection.
struct Master {
  pid_t pid;
  std::string family;
  Line line;
  std::string ticket;
};

pid_t start_host(const std::string &path) {
  const pid_t host = fork();
  if (host == 0) {
    gridcentric::HostOptions options;
    options.socket = path;
    options.hypervisor = "fake";
    options.control = true;
    options.cpus = 2'000'000'000;
    options.print_listening = false;
    std::string error;
    const int result = gridcentric::run_host(options, &error);
    if (result != 0) std::fprintf(stderr, "bench_host: %s\n", error.c_str());
    _exit(result);
  }
  while (access(path.c_str(), F_OK) != 0)
    if (waitpid(host, nullptr, WNOHANG) == host) fail("the host did not start");
  return host;
}

void time_tickets(const std::string &path) {
  Line master(path);
  master.say("gridcentric/1 attach");
  std::vector<double> trips;
  for (int i = 0; i < 5000; ++i) {
    const auto begin = Clock::now();
    const std::string ticket = field(master.say("1 request_ticket 1 1 1 0"), 2);
    trips.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    master.say("2 release_ticket " + ticket);
  }
  std::sort(trips.begin(), trips.end());
  std::printf("{\"bench\": \"ticket\", \"round_trip_us_median\": %.1f, \"p99\": %.1f}\n",
              trips[trips.size() / 2], trips[trips.size() * 99 / 100]);
  Line control(path);
  control.say("gridcentric/1 control");
  control.say("1 reset");
}

Master start_family(const std::string &path, const std::string &clones) {
  int told[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, told) != 0) fail("no descriptors");
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Line line(path);
    const std::string family = field(line.say("gridcentric/1 attach"), 2);
    if (send(told[1], family.data(), family.size(), 0) < 0) _exit(1);
    for (;;) pause();
  }
  close(told[1]);
  char family[64] = {};
  if (recv(told[0], family, sizeof family - 1, 0) != 36) fail("a master did not attach");
  close(told[0]);
  Master master{pid, family, Line(path), ""};
  master.line.say("gridcentric/1 as " + master.family + " 0");
  master.ticket = field(master.line.say("1 request_ticket " + clones + " " + clones + " 1 0"), 2);
  if (master.line.say("2 clone " + master.ticket) != "2 ok 0") fail("a clone failed");
  return master;
}

// All meet at the barrier, then each clone joins with a report.
void end_family(const std::string &path, Master &master, int clones_a_family) {
  std::vector<Line> clones;
  for (int k = 1; k <= clones_a_family; ++k) {
    clones.emplace_back(path);
    clones.back().write("gridcentric/1 as " + master.family + " " + std::to_string(k) + "\n1 sync - -1\n");
  }
  if (master.line.say("3 sync " + master.ticket + " -1") != "3 ok") fail("a barrier broke");
  for (Line &clone : clones) {
    clone.read(2);
    clone.write("2 join aGVsbG8=\n");
  }
  master.line.write("4 wait " + master.ticket + " -1\n");
  master.line.read(clones_a_family + 1);
}

}  // namespace

int main(int count, char **words) {
  const int families = count > 1 ? std::atoi(words[1]) : 1000;
  const int clones_a_family = count > 2 ? std::atoi(words[2]) : 100;
  if (families < 1 || clones_a_family < 1) fail("usage: bench_host [FAMILIES [CLONES-OF-EACH]]");
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  char folder[] = "/tmp/gridcentric-bench-XXXXXX";
  if (!mkdtemp(folder)) fail("cannot make a folder in /tmp");
  const std::string path = std::string(folder) + "/host.sock";
  const pid_t host = start_host(path);
  time_tickets(path);

  const long empty_kb = resident_kb(host);
  const auto begin = Clock::now();
  const std::string wanted = std::to_string(clones_a_family);
  std::vector<Master> masters;
  masters.reserve(static_cast<std::size_t>(families));
  for (int i = 0; i < families; ++i) masters.push_back(start_family(path, wanted));
  const double cloned_s = std::chrono::duration<double>(Clock::now() - begin).count();
  const long full_kb = resident_kb(host);

  for (Master &master : masters) end_family(path, master, clones_a_family);
  const double all_s = std::chrono::duration<double>(Clock::now() - begin).count();
  const double cpu_s = cpu_seconds(host);
  const int clones = families * clones_a_family;
  std::printf(
      "{\"bench\": \"host\", \"families\": %d, \"clones\": %d, \"seconds\": %.3f, \"seconds_until_cloned\": "
      "%.3f, "
      "\"microseconds_a_clone\": %.2f, \"host_cpu_microseconds_a_clone\": %.2f, \"bytes_per_domain\": "
      "%.0f}\n",
      families, clones, all_s, cloned_s, all_s * 1e6 / clones, cpu_s * 1e6 / clones,
      static_cast<double>(full_kb - empty_kb) * 1024 / (clones + families));
  std::fflush(stdout);
  for (const Master &master : masters) {
    kill(master.pid, SIGKILL);
    waitpid(master.pid, nullptr, 0);
  }
  kill(host, SIGTERM);
  waitpid(host, nullptr, 0);
  rmdir(folder);
}
