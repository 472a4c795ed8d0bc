#!/usr/bin/env bash
# "hello, I am N" in bash: three clones say it, the master collects it.
#   gc run -- demos/fork/hello.sh
#
# A shell script is more than one process, so it needs a hypervisor that clones the whole machine it runs in: qemu. If the
# hypervisor clones single processes, `gc clone` says so and the script exits with its exit code (24).
set -euo pipefail

read -r _ ticket < <(gc rt 3 3 1 1000)
if ! vmid=$(gc clone "$ticket"); then # one machine before this line, four after it
  gc release "$ticket"
  exit 24
fi
((vmid == 0)) || gc join --report "hello, I am $vmid" # does not return

gc wait "$ticket" 10000 | while read -r _ _ _ _ _ report; do # result VMID joined 0 text REPORT
  echo "$report"
done
echo "hello, I am the master of 3"
