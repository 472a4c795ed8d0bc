#!/usr/bin/env bash
# "hello, I am N" in bash: three clones say it, the master collects it.
#   gc run -- demos/fork/hello.sh
#
# The same script runs in a VM: gc run --hypervisor qemu --copy demos/fork/hello.sh:/root/hello.sh -- /root/hello.sh
set -euo pipefail

read -r _ ticket < <(gc rt 3 3 1 1000)
vmid=$(gc clone "$ticket") # one shell before this line, four after it
((vmid == 0)) || gc join --report "hello, I am $vmid" # does not return

gc wait "$ticket" 10000 | while read -r _ _ _ _ _ report; do # result VMID joined 0 text REPORT
  echo "$report"
done
echo "hello, I am the master of 3"
