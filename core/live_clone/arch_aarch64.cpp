// aarch64: the few functions that cannot be written in C++. Declared and explained in arch.hpp. Not run yet.
#if defined(__aarch64__)

asm(R"(
  .text
  .macro gc_function name
  .globl \name
  .hidden \name
  .type \name, %function
\name:
  .endm

gc_function gc_context_save
  stp x19, x20, [x0]
  stp x21, x22, [x0, #16]
  stp x23, x24, [x0, #32]
  stp x25, x26, [x0, #48]
  stp x27, x28, [x0, #64]
  stp x29, x30, [x0, #80]
  mov x9, sp
  str x9, [x0, #96]
  stp d8, d9, [x0, #104]
  stp d10, d11, [x0, #120]
  stp d12, d13, [x0, #136]
  stp d14, d15, [x0, #152]
  mov x0, #0
  ret

gc_function gc_context_resume
  ldp x19, x20, [x0]
  ldp x21, x22, [x0, #16]
  ldp x23, x24, [x0, #32]
  ldp x25, x26, [x0, #48]
  ldp x27, x28, [x0, #64]
  ldp x29, x30, [x0, #80]
  ldr x9, [x0, #96]
  mov sp, x9
  ldp d8, d9, [x0, #104]
  ldp d10, d11, [x0, #120]
  ldp d12, d13, [x0, #136]
  ldp d14, d15, [x0, #152]
  mov x0, #1
  ret

# in: flags stack ptid ctid tls fn arg; the kernel wants flags stack ptid tls ctid. x9, x10 survive svc in the child.
gc_function gc_task_clone
  mov x9, x5
  mov x10, x6
  and x1, x1, #-16
  mov x11, x3
  mov x3, x4
  mov x4, x11
  mov x8, #220
  svc #0
  cbnz x0, 1f
  mov x29, #0
  mov x0, x10
  blr x9
  brk #0
1: ret

gc_function gc_task_clone3
  mov x9, x2
  mov x10, x3
  mov x8, #435
  svc #0
  cbnz x0, 1f
  mov x29, #0
  mov x0, x10
  blr x9
  brk #0
1: ret

gc_function gc_wait_call
  .cfi_startproc
  stp x29, x30, [sp, #-32]!
  .cfi_adjust_cfa_offset 32
  .cfi_rel_offset x29, 0
  .cfi_rel_offset x30, 8
  str x19, [sp, #16]
  .cfi_rel_offset x19, 16
  mov x19, x2
  mov x8, x0
  mov x9, x1
  ldp x0, x1, [x9]
  ldp x2, x3, [x9, #16]
  ldp x4, x5, [x9, #32]
  svc #0
  .globl gc_wait_call_end
  .hidden gc_wait_call_end
gc_wait_call_end:
  ldr x19, [sp, #16]
  .cfi_restore x19
  ldp x29, x30, [sp], #32
  .cfi_adjust_cfa_offset -32
  .cfi_restore x29
  .cfi_restore x30
  ret
  .cfi_endproc

  nop
gc_function gc_signal_return
  mov x8, #139
  svc #0
)");

#endif
