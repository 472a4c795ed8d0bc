#!/usr/bin/env bash
# A shell session with a server. It carries out the command lines that its agent sends, one after another, and keeps its variables,
# its folder and its background jobs between them. "fork N" makes N more of it, each with its own server and files.
#   cd PROJECT; gc run --tree --private-files -- bash session.sh PYTHON AGENT_PORT SERVER_PORT TOKEN LIMIT_S
# The agent gets "hello TOKEN VMID ADDRESS", then what each command writes, and "TOKEN STATUS" at its end.
python=$1 agent=$2 port=$3 token=$4 limit=$5

meet() { # a clone has a dead end in place of its master's connection
  me=$(gc vmid) address=$(gc my-ip)
  exec 3<>"/dev/tcp/127.0.0.1/$agent" || exit 1
  echo "hello $token $me $address" >&3
}

ask() { # what the server says about itself
  local said
  exec 4<>"/dev/tcp/$address/$port" || return
  printf 'GET / HTTP/1.0\r\n\r\n' >&4
  IFS= read -r -d '' -u 4 said
  exec 4>&-
  echo "${said##*$'\r\n'}"
}

fork() { # tells the agent how many microseconds `gc clone` took
  local ticket started now
  ticket=$(gc rt "$1" "$1" 1 10000 2>&3) || return
  started=${EPOCHREALTIME/[.,]/}
  gc clone "${ticket#ticket }" >/dev/null || return
  now=${EPOCHREALTIME/[.,]/}
  if [[ $(gc vmid) == "$me" ]]; then echo $((now - started)) >&3; else meet; fi
}

"$python" server.py "$port" "$limit" 3>&- &
server=$!
trap 'kill $server 2>/dev/null' EXIT
trap 'exit 143' HUP INT TERM
meet
while read -r command <&3; do
  case $command in
    "fork "*) fork "${command#fork }" ;;
    *) eval "$command" >&3 2>&3 3>&- ;;
  esac
  echo "$token $?" >&3
done
