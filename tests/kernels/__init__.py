"""The process hypervisor on other kernels and C libraries than this computer's.

kernels.py gets a kernel of a Debian release, parts.py says what our tests are made of, archive.py packs that as the first file
system of a kernel, vm.py boots it in QEMU, where init.py is the first program: it runs the tests and says on the serial
console how they ended. test_vm.py shows that nothing is left of it, processes.py who is. test_kernels.py plays the testees of
tests/live_clone and programs/ there, test_glibcs.py the same with the C libraries of other Debian releases, deny.c and
test_denied.py system calls that are refused.
"""
