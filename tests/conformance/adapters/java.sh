#!/bin/sh
# java.sh JAVA ARGUMENT...: starts the adapter for Java. A program in Java cannot change its own environment: so the first call is read
# here where clones are not real, to set GRIDCENTRIC_ATTACH if it says so, and handed on to the adapter.
if [ -z "$CONFORMANCE_CHANNEL" ]; then
  IFS= read -r first || exit 0
  case $first in
    *'"call":"attach","args":["'[!\"]*)
      rest=${first#*'"args":["'}
      export GRIDCENTRIC_ATTACH="${rest%%\"*}"
      ;;
  esac
  export ADAPTER_FIRST="$first"
fi
exec "$@"
