// x86-64: the few functions that cannot be written in C++. Declared and explained in arch.hpp.
#if defined(__x86_64__)

asm(R"(
  .text
  .macro gc_function name
  .globl \name
  .hidden \name
  .type \name, @function
\name:
  .endm

gc_function gc_context_save
  mov %rbx, (%rdi)
  mov %rbp, 8(%rdi)
  mov %r12, 16(%rdi)
  mov %r13, 24(%rdi)
  mov %r14, 32(%rdi)
  mov %r15, 40(%rdi)
  lea 8(%rsp), %rax
  mov %rax, 48(%rdi)
  mov (%rsp), %rax
  mov %rax, 56(%rdi)
  xor %eax, %eax
  ret

gc_function gc_context_resume
  mov (%rdi), %rbx
  mov 8(%rdi), %rbp
  mov 16(%rdi), %r12
  mov 24(%rdi), %r13
  mov 32(%rdi), %r14
  mov 40(%rdi), %r15
  mov 48(%rdi), %rsp
  mov $1, %eax
  jmp *56(%rdi)

# The new stack carries arg and fn, because every register that survives the call is an argument of it.
gc_function gc_task_clone
  mov 8(%rsp), %rax
  and $-16, %rsi
  sub $16, %rsi
  mov %rax, (%rsi)
  mov %r9, 8(%rsi)
  mov %rcx, %r10
  mov $56, %eax
  syscall
  test %rax, %rax
  jnz 1f
  xor %ebp, %ebp
  pop %rdi
  pop %rax
  call *%rax
  hlt
1: ret

gc_function gc_task_clone3
  mov %rcx, %r8
  mov $435, %eax
  syscall
  test %rax, %rax
  jnz 1f
  xor %ebp, %ebp
  mov %r8, %rdi
  call *%rdx
  hlt
1: ret

gc_function gc_wait_call
  .cfi_startproc
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %rbx, 0
  mov %rdx, %rbx
  mov %rdi, %rax
  mov %rsi, %r11
  mov (%r11), %rdi
  mov 8(%r11), %rsi
  mov 16(%r11), %rdx
  mov 24(%r11), %r10
  mov 32(%r11), %r8
  mov 40(%r11), %r9
  syscall
  .globl gc_wait_call_end
  .hidden gc_wait_call_end
gc_wait_call_end:
  pop %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbx
  ret
  .cfi_endproc

# Unwinders know the end of a signal's frame by these very instructions, where no function covers the byte before.
  nop
gc_function gc_signal_return
  movq $15, %rax
  syscall
)");

#endif
