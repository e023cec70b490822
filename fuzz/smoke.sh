#!/usr/bin/env bash
# A bounded run of every fuzz target from its seeds: enough to see that each builds, runs, and holds for a while.
#
#   fuzz/smoke.sh [SECONDS]        default: 3 for each target
#
# It needs nothing but cargo and a C++ compiler, and builds with the flags cargo-fuzz gives rustc when it is asked for
# no sanitizer. For a real run: cargo fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3}

# RUSTC_BOOTSTRAP lets the stable compiler take the flags; a named host keeps them away from build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 CARGO_PROFILE_DEV_DEBUG=line-tables-only RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --locked --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$host"

smoke() { # TARGET
    mkdir -p "fuzz/corpus/$1" "fuzz/seeds/$1"
    "fuzz/target/$host/debug/$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -artifact_prefix=fuzz/artifacts/ \
        -max_total_time="$seconds" -max_len=8192 -timeout=30 -rss_limit_mb=1024 2>&1 |
        grep -E -A 1 '^Done |ERROR|panicked at|^artifact|^Base64' | sed "s/^/fuzz $1: /"
}
export -f smoke
export host seconds SHELLOPTS
mkdir -p fuzz/artifacts
for source in fuzz/fuzz_targets/*.rs; do basename "$source" .rs; done | xargs -P 2 -I TARGET bash -c 'smoke TARGET'
