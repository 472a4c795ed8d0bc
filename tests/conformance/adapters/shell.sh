#!/usr/bin/env bash
# The adapter for the shell: `shell.sh GC` makes each call by running the gc command, in its own subshell.
# Reads calls as JSON lines on stdin, writes replies as JSON lines on stdout (README.md). It must not know what a call
# means: it maps calls to verbs and lines to values. The lines have one form, so regular expressions parse them.
gc=$1
declare -A codes jobs
while IFS=', ()' read -r _ name _ exit_code _; do  # GC_ERROR(NAME, ERRNO, EXIT, ...)
  codes[$exit_code]=${name,,}
done < <(grep '^GC_ERROR(' "$(dirname "$0")/../../../core/include/gridcentric/errors.def")

verb_of() {
  case $1 in
    request_ticket) echo rt ;;
    release_ticket) echo release ;;
    list_tickets) echo lt ;;
    ticket_info) echo ti ;;
    list_domains) echo ld ;;
    my_ip) echo my-ip ;;
    wait_forget) echo wait ;;
    clone_of) echo clone ;;
    *) echo "$1" ;;
  esac
}

# Values in JSON from lines of gc's output.
tickets() { sed -E 's/^ticket (\S+) (\S+) (\S+) (\S+) (\S+)$/["\1","\2",\3,\4,\5]/' <<<"$1" | paste -sd, ; }
domains() { sed -E 's/^domain (\S+) (\S+) (\S+) (\S+) (\S+)$/[\1,\2,"\3","\4","\5"]/; s/,-,/,null,/' <<<"$1" | paste -sd, ; }
results() {  # of --json: the lines are for people
  local text='"report": (null|"([^"\\]|\\.)*")'
  sed -E 's/^.\{"vmid": (\S+), "how": (\S+), "status": (\S+), '"$text"', "report_base64": (\S+)\}[],]$/[\1,\2,\3,\6]/' <<<"$1" | paste -sd,
}

value_of() {  # CALL OUTPUT
  case $1 in
    attach | vmid | clone) echo "$2" ;;
    my_ip) echo "\"$2\"" ;;
    request_ticket) echo "\"${2#ticket }\"" ;;
    ticket_info) tickets "$2" ;;
    list_tickets) echo "[$(tickets "$2")]" ;;
    list_domains) echo "[$(domains "$2")]" ;;
    wait | wait_forget) echo "[$(results "$2")]" ;;
    *) echo null ;;
  esac
}

reply() {  # ID CALL STATUS OUTPUT
  local id=$1 call=$2 status=$3 text=$4
  if [[ $call == ismaster && -z $text && $status -le 1 ]]; then
    printf '{"id":%d,"ok":%s}\n' "$id" "$([[ $status == 0 ]] && echo true || echo false)"
  elif [[ $status == 0 ]]; then
    printf '{"id":%d,"ok":%s}\n' "$id" "$(value_of "$call" "$text")"
  elif [[ $status == 143 ]]; then
    printf '{"id":%d,"error":"cancelled","text":""}\n' "$id"
  else
    text=${text//\\/\\\\} text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/ }
    printf '{"id":%d,"error":"%s","text":"%s"}\n' "$id" "${codes[$status]:-exit_$status}" "$text"
  fi
}

call() {  # ID CALL ARG...
  local id=$1 call=$2 output status
  shift 2
  [[ $call == clone_of ]] && set -- --of "$1" --json -- "$2"
  [[ $call == wait* ]] && set -- "$@" --json
  [[ $call == wait_forget ]] && set -- "$@" --forget
  output=$(exec "$gc" "$(verb_of "$call")" "$@" 2>&1)  # exec: cancel ends the child of this subshell, gc itself
  status=$?
  reply "$id" "$call" "$status" "$output"
}

end_domain() {  # ID CALL [BASE64]: in the foreground, as the shell ends with its domain
  local output status
  if [[ $2 == noreport ]]; then
    output=$("$gc" join noreport 2>&1)
  else
    output=$(base64 -d <<<"$3" | "$gc" join --file - 2>&1)
  fi
  status=$?
  ((status == 0)) && exit 0
  reply "$1" "$2" "$status" "$output"
}

form='^\{"id":([0-9]+),"call":"([a-z_]+)","args":\[(.*)\]\}$'
while IFS= read -r line; do
  [[ $line =~ $form ]] || { echo "shell adapter: not a call: ${line:0:200}" >&2; exit 70; }
  id=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]}
  IFS=, read -ra args <<<"${BASH_REMATCH[3]}"
  for i in "${!args[@]}"; do
    case ${args[i]} in
      null) args[i]=- ;;
      '{"float":'*) args[i]=${args[i]#*:} ;&
      *) args[i]=${args[i]//[\"\}]/} ;;
    esac
  done
  case $name in
    attach)
      [[ -z ${args[0]} ]] || export GRIDCENTRIC_ATTACH=${args[0]}
      output=$("$gc" vmid 2>&1)
      reply "$id" attach $? "$output"
      ;;
    cancel)
      pkill -TERM -P "${jobs[${args[0]}]}"
      printf '{"id":%d,"ok":null}\n' "$id"
      ;;
    exit) exit "${args[0]}" ;;
    join | noreport) end_domain "$id" "$name" "${args[@]}" ;;
    *)
      call "$id" "$name" "${args[@]}" &
      jobs[$id]=$!
      ;;
  esac
done
wait  # a subshell that has replied has still to end, before its shell does
