#!/usr/bin/env bash
# Runs the worker of 2010 again whenever it exits: after a clone, when the broker has gone. In a clone of this shell the worker has
# ended, or notices by its vmid that it is in a clone.
#   gc run -- classic.sh SITE_PORT BROKER_PORT JOB_SECONDS PREFIX
cd "$(dirname "$0")" || exit 1
while true; do
  "${PYTHON:-python3}" classic.py "$@"
done
