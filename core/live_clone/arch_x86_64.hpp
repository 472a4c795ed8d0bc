// x86-64: system calls, a thread's own registers, and what a parked thread's frame looks like.
#pragma once

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace gridcentric::live_clone::arch {

inline constexpr bool proven = true;
inline constexpr const char *name = "x86-64";
inline constexpr uint32_t rseq_signature = 0x53053053;
inline constexpr uint64_t address_space_end = 0x7ffffffff000;

/// rbx rbp r12 r13 r14 r15 rsp rip
struct Context {
  uint64_t registers[8];
};

inline long syscall6(long n, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

/// The registers of a thread that neither its signal frame nor Context holds.
struct ThreadRegisters {
  uint64_t tls;  ///< FS base
  uint64_t gs;   ///< GS base: unused by C libraries, used by some runtimes
};

inline void read_thread_registers(ThreadRegisters *r) {
  syscall6(SYS_arch_prctl, ARCH_GET_FS, (long)&r->tls, 0, 0, 0, 0);
  syscall6(SYS_arch_prctl, ARCH_GET_GS, (long)&r->gs, 0, 0, 0, 0);
}

/// All but tls, which the kernel sets when it makes the thread.
inline void write_thread_registers(const ThreadRegisters &r) {
  if (r.gs) syscall6(SYS_arch_prctl, ARCH_SET_GS, (long)r.gs, 0, 0, 0, 0);
}

/// clone(2) whose child goes on with the same stack: only without CLONE_VM.
inline long raw_fork(unsigned long flags, int *child_tid, uint64_t tls, int *parent_tid = nullptr) {
  return syscall6(SYS_clone, (long)flags, 0, (long)parent_tid, (long)child_tid, (long)tls, 0);
}

/// A system call that a thread waits in, as /proc/self/task/T/syscall shows it.
struct WaitingCall {
  bool known;
  long number;
  uint64_t args[6];
  uint64_t stack, pc;
};

/// Had a system call just returned EINTR when the signal came?
inline bool returns_eintr(const ucontext_t *frame) { return frame->uc_mcontext.gregs[REG_RAX] == -4; }

/// True if the signal interrupted exactly that call, before it did anything.
inline bool interrupted(const ucontext_t *frame, const WaitingCall &call) {
  const greg_t *r = frame->uc_mcontext.gregs;
  return call.known && returns_eintr(frame) && (uint64_t)r[REG_RIP] == call.pc &&
         (uint64_t)r[REG_RSP] == call.stack && (uint64_t)r[REG_RDI] == call.args[0] &&
         (uint64_t)r[REG_RSI] == call.args[1] && (uint64_t)r[REG_RDX] == call.args[2] &&
         (uint64_t)r[REG_R10] == call.args[3];
}

/// Makes the frame repeat the interrupted call.
inline void restart(ucontext_t *frame, const WaitingCall &call) {
  frame->uc_mcontext.gregs[REG_RIP] -= 2;  // the length of the syscall instruction
  frame->uc_mcontext.gregs[REG_RAX] = call.number;
}

/// Is the frame about to make that call? The kernel itself restarts the calls that it can restart.
inline bool begins_again(const ucontext_t *frame, const WaitingCall &call) {
  const greg_t *r = frame->uc_mcontext.gregs;
  return (uint64_t)r[REG_RIP] + 2 == call.pc && (uint64_t)r[REG_RSP] == call.stack &&
         r[REG_RAX] == call.number;
}

/// Is the frame about to make a system call? `code`: what it is about to execute.
inline constexpr size_t call_bytes = 2;
inline bool begins_call(const ucontext_t *frame, const uint8_t *code, WaitingCall *call) {
  const greg_t *r = frame->uc_mcontext.gregs;
  call->number = r[REG_RAX];
  call->args[0] = (uint64_t)r[REG_RDI];
  call->args[1] = (uint64_t)r[REG_RSI];
  call->args[2] = (uint64_t)r[REG_RDX];
  call->args[3] = (uint64_t)r[REG_R10];
  return code[0] == 0x0f && code[1] == 0x05;
}

/// Undoes the restart: the call has ended with EINTR.
inline void end_restarted(ucontext_t *frame) {
  frame->uc_mcontext.gregs[REG_RIP] += 2;
  frame->uc_mcontext.gregs[REG_RAX] = -4;
}

/// The interrupted call has ended with this result.
inline void end_call(ucontext_t *frame, long result) { frame->uc_mcontext.gregs[REG_RAX] = result; }

/// Decodes the call that has returned EINTR from the `decoded_bytes` before its return address: mov $NUMBER, %eax; syscall,
/// or for read() xor %eax, %eax; syscall. For calls with six arguments glibc loads the first in between, mov N(%rsp), %edi.
/// False if the bytes are anything else.
inline constexpr size_t decoded_bytes = 11;
inline bool decode_call(const ucontext_t *frame, const uint8_t *code, WaitingCall *call) {
  if (code[9] != 0x0f || code[10] != 0x05) return false;
  const bool loads_first = code[0] == 0xb8 && code[5] == 0x8b && code[6] == 0x7c && code[7] == 0x24;
  const uint8_t *move = loads_first ? code : code + 4;
  const bool zero = !loads_first && move[3] == 0x31 && move[4] == 0xc0;
  if (move[0] != 0xb8 && !zero) return false;
  const greg_t *r = frame->uc_mcontext.gregs;
  const long number = zero ? 0 : move[1] | move[2] << 8 | move[3] << 16 | long(move[4]) << 24;
  *call = {true,
           number,
           {(uint64_t)r[REG_RDI], (uint64_t)r[REG_RSI], (uint64_t)r[REG_RDX], (uint64_t)r[REG_R10],
            (uint64_t)r[REG_R8], (uint64_t)r[REG_R9]},
           (uint64_t)r[REG_RSP],
           (uint64_t)r[REG_RIP]};
  return true;
}

/// The register in which gc_wait_call keeps its mark.
inline void *mark_of(const ucontext_t *frame) { return (void *)frame->uc_mcontext.gregs[REG_RBX]; }

inline uint64_t pc_of(const ucontext_t *frame) { return (uint64_t)frame->uc_mcontext.gregs[REG_RIP]; }
inline uint64_t stack_of(const ucontext_t *frame) { return (uint64_t)frame->uc_mcontext.gregs[REG_RSP]; }

inline uint64_t first_argument(const ucontext_t *frame) {
  return (uint64_t)frame->uc_mcontext.gregs[REG_RDI];
}
/// The return address, if a register holds it: here the stack does.
inline uint64_t link_of(const ucontext_t *) { return 0; }
inline bool is_system_call(uint32_t instruction) { return (instruction & 0xffff) == 0x050f; }

/// Does a general register hold this number, in its lower 32 bits?
inline bool in_registers(const ucontext_t *frame, uint32_t number) {
  for (int r = REG_R8; r <= REG_RCX; r++)
    if ((uint64_t)frame->uc_mcontext.gregs[r] == number) return true;
  return false;
}

/// Replaces a number in every general register that holds exactly this number; if `calling`, not in the registers of a
/// system call with up to four arguments.
inline void replace_in_registers(ucontext_t *frame, uint32_t from, uint32_t to, bool calling) {
  const auto replace = [&](std::initializer_list<int> registers) {
    for (int r : registers)
      if ((uint64_t)frame->uc_mcontext.gregs[r] == from) frame->uc_mcontext.gregs[r] = to;
  };
  replace({REG_RBX, REG_RCX, REG_RBP, REG_R8, REG_R9, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15});
  if (!calling) replace({REG_RAX, REG_RDI, REG_RSI, REG_RDX, REG_R10});
}

}  // namespace gridcentric::live_clone::arch
