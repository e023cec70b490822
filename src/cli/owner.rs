//! Root works as the user whose state folder it is: what is made there must be the daemon's, and nothing that this user put there may
//! lead root elsewhere.

use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;
use rustix::thread::{self, CapabilitySet, CapabilitySets};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Becomes the owner of `state_dir` for good, where root asks. It still finds the way: systemd's `DynamicUser=` puts such folders
/// into one that is root's alone.
///
/// For a process of one thread: others would stay root.
pub(super) fn work_as(state_dir: &Path) -> io::Result<()> {
    let Ok(folder) = std::fs::metadata(state_dir) else {
        // Whoever opens it says what is wrong.
        return Ok(());
    };
    if !geteuid().is_root() || folder.uid() == 0 {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(folder.uid()), Gid::from_raw(folder.gid()));
    let kept = thread::capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
    thread::set_keep_capabilities(true)?;
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(group, group, group)?;
    thread::set_thread_res_uid(user, user, user)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(thread::set_capabilities(None, sets)?)
}
