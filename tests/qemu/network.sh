#!/bin/bash
# Three machines of one family ask each other's servers; a word on the input lets the master go on.
set -e
ask() { curl --silent --show-error --max-time 60 "http://$1/"; }
address() { gc ld | awk -v vmid="$1" '$2 == vmid { print $4 }'; }
python3 /root/server.py &
read -r
ticket=$(gc rt 2 2 1 1000)
vmid=$(gc clone "$ticket")
if gc ismaster; then
  gc sync "$ticket"
  for clone in 1 2; do echo "from master: $(ask "$(address $clone)")"; done
  gc sync "$ticket"
  gc sync "$ticket"
  gc wait "$ticket" | cut -d ' ' -f 2,3,6- | while read -r clone how report; do
    echo "$clone $how: $report"
  done
  echo cloned
  read -r
else
  gc sync
  gc sync  # the master has asked
  heard="master says $(ask "$(address 0)"), sibling says $(ask "$(address $((3 - vmid)))")"
  gc sync  # and so has the sibling
  gc join --report "$heard"
fi
