#!/usr/bin/env bash
# A shell script whose curl loop goes on in every clone of `gc clone`: before the clone it hits as the master, after it as each
# of N + 1 domains, and nothing in the loop knows of it but for `gc vmid`.
#   gc run -- client.sh URL CLONES HITS_A_SECOND
#
# In 2010 the loop ran in the shell's background: `hits & gc clone $ticket; wait`. That is right in a VM, where all processes are
# cloned. On the process hypervisor a background job stays with the master, so here the loop is in the foreground and the script
# clones itself in the middle of it.
set -euo pipefail
url=$1 clones=$2 pause=$(awk "BEGIN { print 1 / $3 }")
ticket=$(gc rt "$clones" "$clones" 1 1000 | awk '{print $2}')

ms=
for ((turn = 1; ; turn++)); do
  if ((turn == 3)); then
    gc clone "$ticket" >/dev/null # one loop before this line, N + 1 after it
    ! gc ismaster || echo cloned
  fi
  seconds=$(curl -s -o /dev/null -w '%{time_total}' "$url/hit?form=shell&vmid=$(gc vmid)&ms=$ms")
  ms=$(awk "BEGIN { print 1000 * $seconds }")
  sleep "$pause"
done
