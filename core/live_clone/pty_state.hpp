// What waits in a pseudo-terminal, and its settings: read from one, and given to another. Text can't be looked at there without
// taking it: it is put back. Runs while threads are parked, or in a clone with one thread: see sys.hpp.
// It must not know: which processes have the pseudo-terminal.
#pragma once

#include <asm/termbits.h>
#include <sys/ioctl.h>

#include "descriptor.hpp"

namespace gridcentric::live_clone {

struct PtyState {
  struct termios settings;
  struct winsize size;
  Descriptor::InFlight output, input;  ///< to be read from the master side, and from the other one
  uint32_t *line_ends;                 ///< where lines of the input end; what follows has no end yet
  size_t lines;
};

/// Of a master side. False, with a failure, if not all of it can be read; then nothing has changed.
bool read_pty_state(Descriptor &master);
/// Nothing may wait there. False: it did not arrive.
bool give_pty_state(int master, int slave, const PtyState &state);

}  // namespace gridcentric::live_clone
