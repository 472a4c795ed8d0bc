#include "pty_state.hpp"

#include <poll.h>
#include <string.h>

namespace gridcentric::live_clone {
namespace {

constexpr size_t most_waiting = 128 * 1024;  // the kernel keeps less
constexpr size_t most_digested =
    4095;  // what the line discipline has looked at; the rest is as it was written
constexpr int patience_ms = 1000;

// What was written on one side is there for the other one a moment later. poll() waits for that where nothing can be read yet.
bool is_ready(int fd, short event, int ms = 0) {
  pollfd p{fd, event, 0};
  const timespec limit{ms / 1000, ms % 1000 * 1'000'000L};
  return sys(SYS_ppoll, &p, 1, &limit, nullptr, 8) == 1 && p.revents & event;
}

long read_more(int fd, Descriptor::InFlight *to) {
  if (!is_ready(fd, POLLIN)) return -EAGAIN;
  const long n = sys(SYS_read, fd, to->data + to->size, most_waiting - to->size);
  if (n > 0) to->size += (size_t)n;
  return n;
}

// What has been read into the scratch, for good.
template <typename Item>
bool keep(Item **items, size_t count) {
  auto *kept = static_cast<Item *>(engine.arena.take(count * sizeof(Item)));
  if (!kept) return fail_arena();
  memcpy(kept, *items, count * sizeof(Item));
  *items = kept;
  return true;
}

bool write_all(int fd, const char *data, size_t size) {
  for (size_t done = 0; done < size;) {
    if (!is_ready(fd, POLLOUT, patience_ms)) return false;
    const long n = sys(SYS_write, fd, data + done, size - done);
    if (n <= 0) return false;
    done += (size_t)n;
  }
  return true;
}

// Nothing is translated, echoed, edited or taken for a signal.
struct termios untouched(const struct termios &settings) {
  struct termios t = settings;
  t.c_iflag = t.c_oflag = t.c_lflag = 0;
  for (auto &special : t.c_cc) special = 0;  // disabled
  t.c_cc[VMIN] = 1;
  return t;
}

// As its reader would, so that whatever waits to be looked at is looked at with these settings; then what has no end yet.
bool read_input(int slave, PtyState *state) {
  const bool in_lines = state->settings.c_lflag & ICANON;
  state->input = {engine.scratch, 0};
  state->line_ends = reinterpret_cast<uint32_t *>(engine.scratch + most_waiting);
  for (long n; (n = read_more(slave, &state->input)) > 0 || (n == 0 && in_lines);)
    if (in_lines) state->line_ends[state->lines++] = (uint32_t)state->input.size;
  const struct termios t = untouched(state->settings);
  sys(SYS_ioctl, slave, TCSETS, &t);
  while (read_more(slave, &state->input) > 0) {
  }
  return keep(&state->input.data, state->input.size) && keep(&state->line_ends, state->lines);
}

bool read_output(int master, PtyState *state) {
  state->output = {engine.scratch, 0};
  while (read_more(master, &state->output) > 0) {
  }
  return keep(&state->output.data, state->output.size);
}

bool contains(const char *line, size_t size, unsigned char c) {
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)line[i] == c) return true;
  return false;
}

// A line whose end can't be read was ended by this character, or one like it: the usual one, unless the line has it.
unsigned char end_for(const PtyState &state, const char *line, size_t size) {
  unsigned char end = state.settings.c_cc[VEOF];
  for (int tried = 0; tried < 256 && (!end || end == '\n' || contains(line, size, end)); tried++) end++;
  return end;
}

/// Writes the input, each line with its end, and counts what the terminal echoes of it.
class InputWriter {
 public:
  InputWriter(int master, int slave, const PtyState &state)
      : master_(master), slave_(slave), state_(state), settings_(untouched(state.settings)) {
    settings_.c_lflag = (state.settings.c_lflag & ICANON) | ECHO;
    set();
  }

  // Only what it echoes shows that it has arrived.
  bool write() {
    const char *data = state_.input.data;
    size_t at = 0;
    for (size_t k = 0; k < state_.lines; k++) {
      const size_t end = state_.line_ends[k];
      if (!write_line(data + at, end - at)) return false;
      at = end;
    }
    return send(data + at, state_.input.size - at) && drop_echo();
  }

 private:
  void set() { sys(SYS_ioctl, slave_, TCSETS, &settings_); }

  bool write_line(const char *line, size_t size) {
    if (size && line[size - 1] == '\n') return send(line, size);
    settings_.c_cc[VEOF] = end_for(state_, line, size);
    set();
    if (!send(line, size)) return false;
    const char end = (char)settings_.c_cc[VEOF];
    written_++;
    return write_all(master_, &end, 1);
  }

  bool send(const char *data, size_t size) {
    const size_t room = written_ < most_digested ? most_digested - written_ : 0;
    echoed_ += size < room ? size : room;
    written_ += size;
    return write_all(master_, data, size);
  }

  bool drop_echo() {
    while (echoed_) {
      char text[256];
      if (!is_ready(master_, POLLIN, patience_ms)) return false;
      const long n = sys(SYS_read, master_, text, echoed_ < sizeof text ? echoed_ : sizeof text);
      if (n <= 0) return false;
      echoed_ -= (size_t)n;
    }
    return true;
  }

  const int master_, slave_;
  const PtyState &state_;
  struct termios settings_;
  size_t written_ = 0, echoed_ = 0;
};

Text refuse(int err, const Descriptor &master) {
  return fail(err) << "descriptor " << master.fd << ": pseudo-terminal " << master.terminal.number << " ";
}

bool read_state(const Descriptor &master, int slave, PtyState *state) {
  int packets = 0, discipline = 0;
  sys(SYS_ioctl, master.fd, TIOCGPKT, &packets);
  sys(SYS_ioctl, slave, TIOCGETD, &discipline);
  sys(SYS_ioctl, slave, TIOCGWINSZ, &state->size);
  if (const long r = sys(SYS_ioctl, slave, TCGETS, &state->settings); r < 0)
    return refuse((int)-r, master) << "does not tell its settings", false;
  if (packets || discipline || state->settings.c_lflag & EXTPROC)
    return refuse(EOPNOTSUPP, master) << "is in packet mode or has a line discipline of its own", false;
  if (!is_ready(slave, POLLOUT)) {
    engine.result.passes = true;
    return refuse(EBUSY, master) << "has taken as much output as it can, or is stopped (Ctrl-S)", false;
  }
  const bool read = read_input(slave, state) && read_output(master.fd, state);
  if (!give_pty_state(master.fd, slave, *state))
    return refuse(EIO, master) << "did not take back what waited in it", false;
  return read;
}

}  // namespace

bool read_pty_state(Descriptor &master) {
  auto *state = static_cast<PtyState *>(engine.arena.take(sizeof(PtyState)));
  if (!state) return fail_arena();
  *state = {};
  master.terminal.state = state;
  const long slave = other_side(master.fd, O_RDWR | O_NONBLOCK);
  if (slave < 0)
    return refuse((int)-slave, master) << "can't be opened at its other side (error " << -slave << ")", false;
  const bool ok = read_state(master, (int)slave, state);
  sys(SYS_close, slave);
  return ok;
}

bool give_pty_state(int master, int slave, const PtyState &state) {
  bool ok = InputWriter(master, slave, state).write();
  ok = write_all(slave, state.output.data, state.output.size) && ok;
  sys(SYS_ioctl, slave, TCSETS, &state.settings);
  sys(SYS_ioctl, slave, TIOCSWINSZ, &state.size);
  return ok;
}

}  // namespace gridcentric::live_clone
