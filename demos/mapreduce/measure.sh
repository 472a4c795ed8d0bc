#!/usr/bin/env bash
# Plays 1 to MOST workers, RUNS times each, and draws the times of the stages as stacked bars.
#   measure.sh TEXT FOLDER [MOST [RUNS]]
# Prints what harness.sh prints; FOLDER/measured.json gets it too, and FOLDER/bars.svg the drawing. RUN_IN is the command that starts
# the harness as a master, HARNESS the harness's path there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
text=$1 folder=$2 most=${3:-10} runs=${4:-5}
read -ra run_in <<<"${RUN_IN:-gc run --}"

for ((run = 1; run <= runs; run++)); do
  for ((workers = 1; workers <= most; workers++)); do
    "${run_in[@]}" bash "${HARNESS:-$here/harness.sh}" "$workers" "$text"
  done
done | tee "$folder/measured.json"
"${PYTHON:-python3}" "$here/bars.py" "$folder/measured.json" >"$folder/bars.svg"
