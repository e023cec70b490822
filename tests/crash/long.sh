#!/usr/bin/env bash
# The long forms: 200 kills, 50 power cuts, a kill at every call that changes the disk; about ten minutes. Prints the
# summary lines. Needs root, loop devices, xfs_io, strace and libeatmydata: what is missing fails.
set -euo pipefail
cd "$(dirname "$0")/../.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export WAYSTATION_REQUIRE_PEERS=1
export WAYSTATION_CRASH_CYCLES="${WAYSTATION_CRASH_CYCLES:-200}"
export WAYSTATION_CRASH_POWER_CYCLES="${WAYSTATION_CRASH_POWER_CYCLES:-50}"
export WAYSTATION_CRASH_POINTS="${WAYSTATION_CRASH_POINTS:-all}"

status=0
cargo test --test crash -- --nocapture >"$log" 2>&1 || status=$?
grep -E '^crash: |^test result|FAILED|panicked' "$log" || true
if [ "$status" -ne 0 ]; then
    cat "$log"
fi
exit "$status"
