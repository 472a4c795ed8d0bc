/* deny WHAT... -- PROGRAM [ARGUMENT...]: runs a program with system calls refused, as a filter of a container's makes it.
 *
 * WHAT is CALL=ENOSYS or CALL=EPERM, or the name of a profile:
 *   container      what a container may not do without privileges, by the default of the usual container engines: namespaces,
 *                  io_uring, kcmp, userfaultfd, ... EPERM; clone3 ENOSYS, as its flags can't be looked at
 *   old-container  the same of 2019: EPERM for whatever was not known then (but for clone3, without which the C library
 *                  can make no threads)
 *   namespaces     user namespaces alone
 * or sock_diag: EPERM for sockets of the family AF_NETLINK; or procmap_query: ENOTTY for that ioctl, as before Linux 6.11.
 * Clones with namespaces are refused with the flags of clone(2); all other calls whatever their arguments. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_rseq
#define SYS_rseq 334
#endif

struct call {
  const char *name;
  int number;
};

#define CALL(name) \
  { #name, SYS_##name }
static const struct call calls[] = {
    CALL(add_key),
    CALL(bpf),
    CALL(clone3),
    CALL(close_range),
    CALL(dup3),
    CALL(epoll_create1),
    CALL(epoll_pwait2),
    CALL(eventfd2),
    CALL(execveat),
    CALL(get_robust_list),
    CALL(inotify_init1),
    CALL(io_uring_enter),
    CALL(io_uring_register),
    CALL(io_uring_setup),
    CALL(kcmp),
    CALL(keyctl),
    CALL(madvise),
    CALL(memfd_create),
    CALL(mincore),
    CALL(mount),
    CALL(perf_event_open),
    CALL(pidfd_getfd),
    CALL(pidfd_open),
    CALL(pidfd_send_signal),
    CALL(pivot_root),
    CALL(process_vm_readv),
    CALL(process_vm_writev),
    CALL(ptrace),
    CALL(request_key),
    CALL(rseq),
    CALL(rt_tgsigqueueinfo),
    CALL(set_robust_list),
    CALL(setns),
    CALL(signalfd4),
    CALL(tee),
    CALL(timer_create),
    CALL(timerfd_create),
    CALL(umount2),
    CALL(unshare),
    CALL(userfaultfd),
    CALL(waitid),
};

struct profile {
  const char *name;

  const char *refused[32];
};

#define PRIVILEGED                                                                                    \
  "unshare=EPERM", "setns=EPERM", "mount=EPERM", "umount2=EPERM", "pivot_root=EPERM", "kcmp=EPERM",   \
      "bpf=EPERM", "perf_event_open=EPERM", "keyctl=EPERM", "add_key=EPERM", "request_key=EPERM",     \
      "userfaultfd=EPERM", "io_uring_setup=EPERM", "io_uring_enter=EPERM", "io_uring_register=EPERM", \
      "pidfd_getfd=EPERM"
static const struct profile profiles[] = {
    {"container", {PRIVILEGED, "clone3=ENOSYS"}},
    {"old-container",
     {PRIVILEGED, "clone3=ENOSYS", "close_range=EPERM", "pidfd_open=EPERM", "pidfd_send_signal=EPERM",
      "epoll_pwait2=EPERM", "ptrace=EPERM", "process_vm_readv=EPERM", "process_vm_writev=EPERM"}},
    {"namespaces", {"unshare=EPERM", "clone3=ENOSYS"}},
};

static struct sock_filter code[256];
static unsigned short used;

static void emit(unsigned short op, unsigned char yes, unsigned char no, unsigned value) {
  if (used == sizeof code / sizeof *code) exit(2);
  code[used++] = (struct sock_filter){op, yes, no, value};
}

static void load(size_t offset) { emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, (unsigned)offset); }

static void refuse(const char *what) {
  const char *equals = strchr(what, '=');
  for (size_t i = 0; equals && i < sizeof calls / sizeof *calls; i++) {
    const size_t length = (size_t)(equals - what);
    if (strlen(calls[i].name) != length || strncmp(calls[i].name, what, length) != 0) continue;
    const int error = strcmp(equals, "=ENOSYS") == 0 ? ENOSYS : strcmp(equals, "=EPERM") == 0 ? EPERM : 0;
    if (!error) break;
    emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)calls[i].number);
    emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | (unsigned)error);
    return;
  }
  fprintf(stderr,
          "deny: '%s': expected CALL=ENOSYS or CALL=EPERM of a known call, or container, old-container, "
          "namespaces, sock_diag, procmap_query\n",
          what);
  exit(2);
}

static void refuse_cloned_namespaces(void) {
  const unsigned spaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                          CLONE_NEWUTS | CLONE_NEWCGROUP;
  emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, SYS_clone);
  load(offsetof(struct seccomp_data, args[0]));
  emit(BPF_JMP | BPF_JSET | BPF_K, 0, 1, spaces);
  emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM);
  load(offsetof(struct seccomp_data, nr));
}

static void refuse_with_argument(unsigned call, int index, unsigned value, unsigned error) {
  emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, call);
  load(offsetof(struct seccomp_data, args) + (size_t)index * sizeof(__u64));
  emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
  emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | error);
  load(offsetof(struct seccomp_data, nr));
}

static void add(const char *what) {
  if (strcmp(what, "sock_diag") == 0) return refuse_with_argument(SYS_socket, 0, AF_NETLINK, EPERM);
  if (strcmp(what, "procmap_query") == 0) return refuse_with_argument(SYS_ioctl, 1, 0xc0686611, ENOTTY);
  for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++) {
    if (strcmp(profiles[i].name, what) != 0) continue;
    for (const char *const *one = profiles[i].refused; *one; one++) refuse(*one);
    refuse_cloned_namespaces();
    return;
  }
  refuse(what);
}

int main(int argc, char **argv) {
  int i = 1;
  load(offsetof(struct seccomp_data, nr));
  for (; i < argc && strcmp(argv[i], "--") != 0; i++) add(argv[i]);
  if (i < 2 || i + 1 >= argc) {
    fprintf(stderr, "usage: deny WHAT... -- PROGRAM [ARGUMENT...]   (see the head of deny.c)\n");
    return 2;
  }
  emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  const struct sock_fprog program = {used, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("deny: the filter can't be installed");
    return 2;
  }
  execvp(argv[i + 1], argv + i + 1);
  perror(argv[i + 1]);
  return 127;
}
