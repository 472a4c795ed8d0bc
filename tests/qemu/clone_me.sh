#!/bin/bash
# A shell script that clones its machine, itself included, and reads as it runs.
set -e
counter=41
ticket=$(gc rt 3 3 1 1000)
vmid=$(gc clone $ticket)
counter=$((counter + 1))
if gc ismaster; then
  gc sync $ticket 60000
  echo "master: counter $counter"
  gc wait $ticket 60000
else
  echo "clone $vmid at $(gc my-ip): counter $counter, host $(hostname)"
  gc sync
  gc join
fi
