// aarch64, written from the documentation of the kernel and the ABI and never run: `proven` is false, so the engine
// refuses at run time until someone has run tests/live_clone on such a computer and set it.
#pragma once

#include <sys/syscall.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace gridcentric::live_clone::arch {

inline constexpr bool proven = false;
inline constexpr const char *name = "aarch64";
inline constexpr uint32_t rseq_signature = 0xd428bc00;
inline constexpr uint64_t address_space_end = 0xfffffffff000;

/// x19..x30 sp d8..d15
struct Context {
  uint64_t registers[22];
};

inline long syscall6(long n, long a, long b, long c, long d, long e, long f) {
  register long x8 asm("x8") = n;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

struct ThreadRegisters {
  uint64_t tls;  ///< TPIDR_EL0
};

inline void read_thread_registers(ThreadRegisters *r) { asm volatile("mrs %0, tpidr_el0" : "=r"(r->tls)); }
inline void write_thread_registers(const ThreadRegisters &) {}

inline long raw_fork(unsigned long flags, int *child_tid, uint64_t tls, int *parent_tid = nullptr) {
  return syscall6(SYS_clone, (long)flags, 0, (long)parent_tid, (long)tls, (long)child_tid,
                  0);  // tls comes before child_tid here
}

struct WaitingCall {
  bool known;
  long number;
  uint64_t args[6];
  uint64_t stack, pc;
};

inline bool returns_eintr(const ucontext_t *frame) { return (long)frame->uc_mcontext.regs[0] == -4; }

/// x0 holds the result, so the first argument cannot be compared; x8 still holds the number of the call.
inline bool interrupted(const ucontext_t *frame, const WaitingCall &call) {
  const auto &m = frame->uc_mcontext;
  return call.known && returns_eintr(frame) && m.pc == call.pc && m.sp == call.stack &&
         (long)m.regs[8] == call.number && m.regs[1] == call.args[1] && m.regs[2] == call.args[2] &&
         m.regs[3] == call.args[3];
}

inline void restart(ucontext_t *frame, const WaitingCall &call) {
  frame->uc_mcontext.pc -= 4;  // the length of the svc instruction
  frame->uc_mcontext.regs[0] = call.args[0];
}

inline bool begins_again(const ucontext_t *frame, const WaitingCall &call) {
  const auto &m = frame->uc_mcontext;
  return m.pc + 4 == call.pc && m.sp == call.stack && m.regs[0] == call.args[0] &&
         (long)m.regs[8] == call.number;
}

inline constexpr size_t call_bytes = 4;
inline bool begins_call(const ucontext_t *frame, const uint8_t *code, WaitingCall *call) {
  const auto &m = frame->uc_mcontext;
  call->number = (long)m.regs[8];
  call->args[0] = m.regs[0];
  for (int i = 1; i < 4; i++) call->args[i] = m.regs[i];
  return code[0] == 0x01 && code[1] == 0 && code[2] == 0 && code[3] == 0xd4;
}

inline void end_restarted(ucontext_t *frame) {
  frame->uc_mcontext.pc += 4;
  frame->uc_mcontext.regs[0] = (uint64_t)-4;
}

inline void end_call(ucontext_t *frame, long result) { frame->uc_mcontext.regs[0] = (uint64_t)result; }

/// The result has replaced the first argument, so a call that was not seen beforehand cannot be identified.
inline constexpr size_t decoded_bytes = 4;
inline bool decode_call(const ucontext_t *, const uint8_t *, WaitingCall *) { return false; }

inline void *mark_of(const ucontext_t *frame) { return (void *)frame->uc_mcontext.regs[19]; }

inline uint64_t pc_of(const ucontext_t *frame) { return frame->uc_mcontext.pc; }
inline uint64_t stack_of(const ucontext_t *frame) { return frame->uc_mcontext.sp; }

inline uint64_t first_argument(const ucontext_t *frame) { return frame->uc_mcontext.regs[0]; }
inline uint64_t link_of(const ucontext_t *frame) { return frame->uc_mcontext.regs[30]; }
inline bool is_system_call(uint32_t instruction) { return instruction == 0xd4000001; }

/// Does a general register hold this number, in its lower 32 bits?
inline bool in_registers(const ucontext_t *frame, uint32_t number) {
  for (uint64_t r : frame->uc_mcontext.regs)
    if (r == number) return true;
  return false;
}

inline void replace_in_registers(ucontext_t *frame, uint32_t from, uint32_t to, bool calling) {
  auto &registers = frame->uc_mcontext.regs;
  for (size_t r = 0; r < sizeof registers / sizeof *registers; r++)
    if (registers[r] == from && !(calling && (r < 4 || r == 8))) registers[r] = to;
}

}  // namespace gridcentric::live_clone::arch
