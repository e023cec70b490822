//! The binary: arguments in, exit code out.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Many threads allocate and free each other's small pieces, which costs the system's allocator twice as much.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    waystation::cli::main(std::env::args_os())
}
