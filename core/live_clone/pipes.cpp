// Pipes and FIFOs. A pipe whose two ends are both open in the process becomes one of the clone's own, with the bytes
// in flight, whoever else may hold an end: what the memory of the clone has read and written so far stays true. An
// end whose other end is open elsewhere stays the master's and is a dead end in the clone: reads give end-of-file,
// writes EPIPE; but for one that the order names, in which an answer waits. Only what stands on 0, 1 and 2 is shared. Knows nothing of what pipes are used for. Runs while
// threads are parked, or in a clone with one thread: see sys.hpp.
#include "pipes.hpp"

#include <sys/ioctl.h>

#include "descriptor.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

bool one_pipe(const Descriptor &a, const Descriptor &b) { return a.inode == b.inode && a.device == b.device; }

Descriptor *next_end(const Descriptor &d) {
  return d.pipe.next >= 0 ? &engine.plan.descriptors[(size_t)d.pipe.next] : nullptr;
}

// Duplicates what waits into a pipe of ours (tee) and reads it there: the master's stays as it is.
bool copy_waiting(Descriptor &d, int reader, int waiting) {
  int copy[2];
  const long r = sys(SYS_pipe2, copy, O_NONBLOCK | O_CLOEXEC);
  if (r < 0) return fail_descriptor((int)-r, d) << "no pipe to copy its contents with", false;
  sys(SYS_fcntl, copy[1], F_SETPIPE_SZ, d.pipe.capacity);
  const long n = sys(SYS_tee, reader, copy[1], waiting, 2 /* SPLICE_F_NONBLOCK */);
  if (n > 0) {
    d.pipe.waiting.data = static_cast<char *>(engine.arena.take((size_t)n));
    if (d.pipe.waiting.data) d.pipe.waiting.size = (size_t)n;
    for (size_t at = 0; at < d.pipe.waiting.size;) {
      const long got = sys(SYS_read, copy[0], d.pipe.waiting.data + at, d.pipe.waiting.size - at);
      if (got <= 0) break;
      at += (size_t)got;
    }
  }
  sys(SYS_close, copy[0]);
  sys(SYS_close, copy[1]);
  if (n == -EPERM || n == -ENOSYS)
    return fail_descriptor((int)-n, d) << "tee, to copy its contents with, is refused", false;
  if (n > 0 && !d.pipe.waiting.data) return fail_arena();
  if (n != waiting)
    end_note(note() << "descriptor " << d.fd << ": pipe, " << (waiting - (n > 0 ? n : 0)) << " bytes lost");
  return true;
}

}  // namespace

int pipe_ends(int flags) {
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      return reading_end;
    case O_WRONLY:
      return writing_end;
    default:
      return reading_end | writing_end;
  }
}

bool pipe_stays_shared(int ends, int standard) { return standard && !(ends & ~standard); }

bool pipe_is_inside(int ends, int standard) { return !standard && ends == (reading_end | writing_end); }

bool pipe_is_in_tree(int ends, int others) {
  return others && (ends | others) == (reading_end | writing_end);
}

// All descriptors of one pipe are neighbours in `order`.
void match_pipes(const int *order, size_t count) {
  auto &all = engine.plan.descriptors;
  for (size_t first = 0, next; first < count; first = next) {
    const Descriptor &head = all[(size_t)order[first]];
    int ends = 0, standard = 0;
    for (next = first; next < count && one_pipe(head, all[(size_t)order[next]]); next++) {
      const Descriptor &d = all[(size_t)order[next]];
      if (d.kind == Kind::pipe) ends |= pipe_ends(d.flags);
      if (d.kind == Kind::pipe && is_standard(d.fd)) standard |= pipe_ends(d.flags);
    }
    const tree::PipeElsewhere others = tree::pipe_elsewhere(head.device, head.inode);
    const bool in_tree = pipe_is_in_tree(ends, others.ends);
    standard |= others.streams;
    Descriptor *last = nullptr;
    for (size_t i = first; ends && i < next; i++) {
      Descriptor &d = all[(size_t)order[i]];
      if (d.kind != Kind::pipe || d.same_as >= 0) continue;
      if (!in_tree && pipe_stays_shared(pipe_ends(d.flags), standard)) {
        d.kind = Kind::kept;
      } else if (!in_tree && !pipe_is_inside(ends, standard)) {
        d.kind = Kind::pipe_dead;
      } else if (in_tree && others.first < engine.prepared.process) {
        d.kind = Kind::pipe_joined;
        d.pipe.maker = others.first;
        d.pipe.fills = !last && (ends & reading_end) && engine.prepared.process < others.first_reader;
        last = &d;
      } else {
        d.pipe.shared = in_tree;
        d.pipe.leads = !last;
        if (last) last->pipe.next = order[i];
        last = &d;
      }
    }
  }
}

bool plan_pipe(Descriptor &d) {
  if (!d.pipe.leads) return true;
  d.pipe.capacity = (int)sys(SYS_fcntl, d.fd, F_GETPIPE_SZ);
  const Descriptor *reader = &d;
  while (reader && !(pipe_ends(reader->flags) & reading_end)) reader = next_end(*reader);
  int waiting = 0;
  if (reader) sys(SYS_ioctl, reader->fd, FIONREAD, &waiting);
  return waiting <= 0 || copy_waiting(d, reader->fd, waiting);
}

bool plan_joined_pipe(Descriptor &d) {
  if (!d.pipe.fills) return true;
  d.pipe.capacity = (int)sys(SYS_fcntl, d.fd, F_GETPIPE_SZ);
  int reader = -1;
  for (const Descriptor &end : engine.plan.descriptors)
    if (one_pipe(end, d) && (pipe_ends(end.flags) & reading_end)) reader = end.fd;
  int waiting = 0;
  sys(SYS_ioctl, reader, FIONREAD, &waiting);
  return waiting <= 0 || copy_waiting(d, reader, waiting);
}

namespace {

bool fill(const Descriptor &d, int writer) {
  const Descriptor::InFlight &waiting = d.pipe.waiting;
  if (!waiting.size || sys(SYS_write, writer, waiting.data, waiting.size) == (long)waiting.size) return true;
  return fail_descriptor(ENOSPC, d) << waiting.size
                                    << " bytes in flight don't fit into the clone's pipe: raise "
                                    << "/proc/sys/fs/pipe-max-size or pipe-user-pages-soft",
         false;
}

// One more open file of the pipe that `fd` is an end of.
long open_end(int fd, int flags) {
  return sys(SYS_openat, AT_FDCWD, Path("/proc/self/fd/", fd).text,
             (flags & (O_ACCMODE | O_NONBLOCK | O_DIRECT)) | O_CLOEXEC, 0);
}

bool offer_ends(const Descriptor &d, const int (&ends)[2]) {
  const long reader = sys(SYS_fcntl, ends[0], F_DUPFD_CLOEXEC, 0);
  const long writer = sys(SYS_fcntl, ends[1], F_DUPFD_CLOEXEC, 0);
  if (reader < 0 || writer < 0) return place((int)(reader < 0 ? reader : writer), d);
  return tree::offer(d.device, d.inode, false, (int)reader, (int)writer);
}

}  // namespace

bool rebuild_joined_pipe(Descriptor &d) {
  const long end = tree::take(d.pipe.maker, d.device, d.inode, false, 0);
  if (end < 0) return place((int)end, d);
  bool ok = true;
  if (d.pipe.fills && d.pipe.waiting.size) {
    const long writer = open_end((int)end, O_WRONLY | O_NONBLOCK);
    ok = writer >= 0 ? fill(d, (int)writer) : place((int)writer, d);
    if (writer >= 0) sys(SYS_close, writer);
  }
  const long own = ok ? open_end((int)end, d.flags) : -1;
  sys(SYS_close, end);
  return ok && place_with_duplicates((int)own, d);
}

bool rebuild_pipe(Descriptor &first) {
  if (!first.pipe.leads) return true;
  int ends[2] = {-1, -1};  // where the two are
  const long r = sys(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);
  if (r < 0) return place((int)r, first);
  if (first.pipe.capacity != 65536) sys(SYS_fcntl, ends[1], F_SETPIPE_SZ, first.pipe.capacity);
  if (!fill(first, ends[1]) || (first.pipe.shared && !offer_ends(first, ends))) return false;
  bool given[2] = {false, false};
  for (Descriptor *d = &first; d; d = next_end(*d)) {
    const int which = pipe_ends(d->flags) == reading_end ? 0 : 1;
    const bool whole = pipe_ends(d->flags) == (reading_end | writing_end);
    if (whole || given[which]) {  // one more open file of the same pipe
      if (!place_with_duplicates((int)open_end(ends[which], d->flags), *d)) return false;
    } else {
      sys(SYS_fcntl, ends[which], F_SETFL, d->flags);
      if (!place_with_duplicates(ends[which], *d)) return false;
      ends[which] = d->fd;
      given[which] = true;
    }
  }
  for (int k = 0; k < 2; k++)
    if (!given[k]) sys(SYS_close, ends[k]);
  return true;
}

bool plan_pipe_dead(Descriptor &d) {
  end_note(note() << "descriptor " << d.fd << ": " << dead_pipe);
  return true;
}

// One that was opened for both (a FIFO on 0 to 2 is open for it as well) can be a dead end only as a reader.
bool rebuild_pipe_dead(Descriptor &d) {
  int ends[2] = {-1, -1};
  const long r = sys(SYS_pipe2, ends, (d.flags & (O_NONBLOCK | O_DIRECT)) | O_CLOEXEC);
  if (r < 0) return place((int)r, d);
  const int mine = pipe_ends(d.flags) == writing_end ? 1 : 0;
  const AnswerPipe &answers = engine.order->answer_pipe;
  if (!answers.answers.empty() && d.inode == answers.inode && d.device == answers.device && mine == 0) {
    const Answer &answer = answers.answers[(size_t)engine.result.index - 1];
    if (sys(SYS_write, ends[1], answer.bytes, answer.size) != (long)answer.size)
      return fail_descriptor(ENOSPC, d) << "no room for what it has to answer", false;
  }
  sys(SYS_close, ends[1 - mine]);
  return place_with_duplicates(ends[mine], d);
}

}  // namespace gridcentric::live_clone
