// gc top: a live table of all domains of the user. Plain ANSI; redraws each second, on a key and when the window changes.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/cli/actions.hpp"
#include "core/cli/observe.hpp"
#include "core/cli/output.hpp"
#include "core/cli/usage.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int frame_ms = 1000;

volatile sig_atomic_t window_changed = 0;
volatile sig_atomic_t ended = 0;

// Puts the terminal on its alternate screen, without echo and line editing, and back afterwards. Ctrl-C stays a signal; it
// ends the loop, so that the terminal is restored.
class Screen {
 public:
  Screen() {
    ::tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    std::fputs("\033[?1049h\033[?25l", stdout);
  }
  ~Screen() {
    std::fputs("\033[?25h\033[?1049l", stdout);
    std::fflush(stdout);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen &) = delete;
  Screen &operator=(const Screen &) = delete;

 private:
  termios before_{};
};

// What each domain had used at the last frame, to compute rates from.
struct History {
  Clock::time_point when;
  std::map<int, std::int64_t> cpu_ms;  // by pid
};

std::string memory_text(std::int64_t kib) {
  char text[32];
  if (kib < 0) return "-";
  if (kib < 10 * 1024) {
    std::snprintf(text, sizeof text, "%.1fM", static_cast<double>(kib) / 1024);
  } else {
    std::snprintf(text, sizeof text, "%lldM", static_cast<long long>(kib / 1024));
  }
  return text;
}

// CPU since the last frame, in percent of one core; in the first frame, since the domain's birth.
std::string cpu_text(const Observed &domain, const Usage &usage, const History &last, Clock::time_point now) {
  const auto known = last.cpu_ms.find(domain.pid);
  const double used = static_cast<double>(usage.cpu_ms - (known != last.cpu_ms.end() ? known->second : 0));
  const double passed = known != last.cpu_ms.end()
                            ? std::chrono::duration<double, std::milli>(now - last.when).count()
                            : static_cast<double>(domain.age_ms);
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", passed > 0 && used > 0 ? 100 * used / passed : 0.0);
  return text;
}

std::vector<std::string> make_lines(History &history) {
  const auto domains = observe_all(nullptr);
  const ProcessTable processes;
  std::vector<int> roots;
  roots.reserve(domains.size());
  for (const auto &domain : domains) roots.push_back(domain.pid);
  History now{Clock::now(), {}};
  std::vector<std::string> lines;
  lines.push_back(format("%5s %6s %-15s %-8s %7s %8s %7s %-8s %s", "VMID", "PARENT", "ADDRESS", "STATE",
                         "AGE", "PSS", "CPU", "FAMILY", "NAME"));
  std::int64_t total_kib = 0;
  for (const auto &domain : domains) {
    const Usage usage = domain.pid > 0 ? processes.usage_of(domain.pid, roots) : Usage{};
    total_kib += usage.pss_kib > 0 ? usage.pss_kib : 0;
    const std::string cpu = domain.pid > 0 ? cpu_text(domain, usage, history, now.when) : "-";
    now.cpu_ms[domain.pid] = usage.cpu_ms;
    const std::string row = format("%5d %6s %-15s %-8s %7s %8s %7s %-8.8s ", domain.vmid,
                                   domain.parent < 0 ? "-" : std::to_string(domain.parent).c_str(),
                                   domain.ip.c_str(), domain.state.c_str(), age_text(domain.age_ms).c_str(),
                                   memory_text(usage.pss_kib).c_str(), cpu.c_str(), domain.family.c_str());
    lines.push_back(wire::printable(row + one_line(domain.name)));
  }
  lines.push_back(std::to_string(domains.size()) + (domains.size() == 1 ? " domain, " : " domains, ") +
                  memory_text(total_kib) + " PSS in all");
  history = std::move(now);
  return lines;
}

// NO_COLOR (no-color.org) asks for plain text.
std::string styled(std::string_view text, std::string_view style) {
  static const char *no_color = std::getenv("NO_COLOR");
  if (style.empty() || (no_color != nullptr && *no_color != '\0')) return std::string(text);
  return std::string(style).append(text).append("\033[0m");
}

// Can this terminal draw one frame over another?
bool can_draw() {
  const char *terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) != 0 && ::isatty(STDIN_FILENO) != 0 && terminal != nullptr &&
         *terminal != '\0' && std::string_view(terminal) != "dumb";
}

// Cuts the table to the window, but keeps the last line (the sums).
void draw(const std::vector<std::string> &lines) {
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_row < 2 || window.ws_col == 0) {
    window.ws_row = 24;
    window.ws_col = 80;
  }
  std::string frame = "\033[H\033[J";
  const std::size_t most = window.ws_row - 1U;
  for (std::size_t at = 0; at + 1 < lines.size() && at < most; ++at) {
    frame.append(styled(cut_to_columns(lines[at], window.ws_col), at == 0 ? "\033[1m" : "")).append("\n");
  }
  frame.append(styled(cut_to_columns(lines.back() + " - q quits", window.ws_col), "\033[2m"));
  std::fwrite(frame.data(), 1, frame.size(), stdout);
  std::fflush(stdout);
}

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int number) { (number == SIGWINCH ? window_changed : ended) = 1; };
  for (const int number : {SIGWINCH, SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
}

// Waits until the next frame is due. False: quit.
bool pause(Clock::time_point next) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
    if (ended != 0) return false;
    if (left <= 0 || window_changed != 0) return true;
    pollfd entry{STDIN_FILENO, POLLIN, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    char key = 0;
    if (::read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q') return false;
    return true;  // any other key: redraw now
  }
}

}  // namespace

int top(const Arguments &arguments) {
  History history;
  if (arguments.has("--once") || !can_draw()) {
    for (const auto &line : make_lines(history)) show(stdout, line + "\n");
    return 0;
  }
  watch_signals();
  const Screen screen;
  do {
    window_changed = 0;
    draw(make_lines(history));
  } while (pause(history.when + std::chrono::milliseconds(frame_ms)));
  return 0;
}

}  // namespace gridcentric::cli
