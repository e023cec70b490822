#!/usr/bin/env bash
# A bounded run of every fuzz target from its seeds: enough to see that each builds, runs, and holds for a while.
#
#   fuzz/smoke.sh [SECONDS]        default: 3 for each target
#
# For a real run: cargo fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3}
# cargo-fuzz needs unstable compiler flags; this lets the stable compiler take them.
export RUSTC_BOOTSTRAP=1

command -v cargo-fuzz >/dev/null || cargo install --locked --version 0.13.2 cargo-fuzz
cargo fuzz build --dev --sanitizer none
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    cargo fuzz run --dev --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=30 -rss_limit_mb=1024 -print_final_stats=0 2>&1 |
        tail -n 1 | sed "s/^/fuzz $target: /"
done
