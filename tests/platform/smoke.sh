#!/bin/sh
# What a shell script can ask of gc in any domain. See README.md: gc run -- sh smoke.sh
set -eu
passed=0
ok() {
  passed=$((passed + 1))
  echo "ok $*"
}
equal() { # equal WHAT GOT EXPECTED
  [ "$2" = "$3" ] || { echo "$1: got '$2', expected '$3'" >&2; exit 1; }
}

equal "gc vmid" "$(gc vmid)" 0
gc ismaster
[ -n "$(gc my-ip)" ]
ok "identity"
set -- $(gc rt 3 3 1 1000)
equal "the first word of gc rt" "$1" ticket
ticket=$2
gc lt | grep -q "$ticket" || { echo "gc lt does not list $ticket" >&2; exit 1; }
ok "tickets"
equal "lines of gc ld" "$(gc ld | wc -l | tr -d ' ')" 1
ok "the family"
gc release "$ticket"
if gc release "$ticket" 2>/dev/null; then
  echo "a ticket could be released twice" >&2
  exit 1
fi
ok "errors"
gc check $$ | grep -q "process $$ can" || { echo "gc check does not speak of process $$" >&2; exit 1; }
ok "gc check"
echo "mode none"
echo "$passed passed"
