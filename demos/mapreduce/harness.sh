#!/usr/bin/env bash
# A MapReduce by clones of this script: a ticket for the workers, the clones, the barrier, the work. In the master example.py serves;
# each clone starts mincemeat.py, which works for it.
#   gc run -- harness.sh WORKERS TEXT
# Prints what example.py prints, and at the end a line of JSON with the times of the stages in ms.
set -euo pipefail
workers=$1 text=$2
cd "$(dirname "$0")"
python=${PYTHON:-python3}
now() { stamp=${EPOCHREALTIME/[.,]/}; } # µs, without starting a process
ms() { printf '%d.%03d' $((($2 - $1) / 1000)) $((($2 - $1) % 1000)); }

master=$(gc my-ip)
exec 3< <(exec "$python" example.py "$text" 0)
serving=$!
read -r line <&3 # it listens
echo "$line"
port=${line//[^0-9]/}

now; start=$stamp
ticket=$(gc rt "$workers" "$workers" 1 10000 | awk '{print $2}')
now; granted=$stamp
gc clone "$ticket" >/dev/null
if ! gc ismaster; then
  gc sync
  "$python" mincemeat.py -p changeme -P "$port" "$master"
  gc join noreport
fi
now; cloned=$stamp
gc sync "$ticket"
now; synced=$stamp
cat <&3
wait "$serving"
now; done=$stamp
gc wait "$ticket" >/dev/null
printf '{"workers": %d, "ticket": %s, "clone": %s, "sync": %s, "mapreduce": %s}\n' "$workers" \
  "$(ms "$start" "$granted")" "$(ms "$granted" "$cloned")" "$(ms "$cloned" "$synced")" "$(ms "$synced" "$done")"
