//! What tests borrow from the system: file systems that can be unplugged or filled, and `strace`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether what a test needs is there; if not, says why it is left out, or fails where nothing may be left out.
pub fn has(what: &str, lack: Result<(), String>) -> bool {
    let Err(lack) = lack else { return true };
    let required = std::env::var("WAYSTATION_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!required, "{what}: {lack}");
    eprintln!("crash: {what} left out: {lack}");
    false
}

/// Runs a command; its complaint if it has one.
pub fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|cause| format!("{program} can't be run: {cause}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// A mounted file system; unmounted when dropped.
pub struct Mount {
    pub path: PathBuf,
    image: Option<PathBuf>,
    options: &'static str,
}

impl Mount {
    /// An ext4 of 256 MiB in a file, on a loop device. Its own journal is written only when somebody syncs, so that
    /// what isn't synced is lost for sure.
    pub fn ext4(home: &Path) -> Result<Self, String> {
        Self::in_a_file(home, 256 << 20, &["mkfs.ext4", "-q", "-F"], "loop,commit=600")
    }

    /// An XFS of 320 MiB, in the same way.
    pub fn xfs(home: &Path) -> Result<Self, String> {
        Self::in_a_file(home, 320 << 20, &["mkfs.xfs", "-q", "-f"], "loop")
    }

    fn in_a_file(home: &Path, octets: u64, make: &[&str], options: &'static str) -> Result<Self, String> {
        let (image, path) = (home.join("disk.img"), home.join("disk"));
        std::fs::create_dir(&path).map_err(|cause| cause.to_string())?;
        let file = std::fs::File::create(&image).map_err(|cause| cause.to_string())?;
        file.set_len(octets).map_err(|cause| cause.to_string())?;
        let words: Vec<&str> = make[1..].iter().copied().chain([image.to_str().unwrap()]).collect();
        run(make[0], &words)?;
        run("xfs_io", &["-V"])?;
        let mount = Self { path, image: Some(image), options };
        mount.mount()?;
        Ok(mount)
    }

    /// A tmpfs of such a size.
    pub fn tmpfs(home: &Path, size: &str) -> Result<Self, String> {
        let path = home.join("small");
        std::fs::create_dir(&path).map_err(|cause| cause.to_string())?;
        let options = format!("size={size},mode=700");
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path.to_str().unwrap()])?;
        Ok(Self { path, image: None, options: "" })
    }

    fn mount(&self) -> Result<(), String> {
        let image = self.image.as_ref().unwrap();
        run("mount", &["-o", self.options, image.to_str().unwrap(), self.path.to_str().unwrap()])
    }

    /// From now on nothing reaches the disk. What has, and nothing else, is there after [`Mount::plug_in`].
    pub fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", self.path.to_str().unwrap()]).unwrap();
    }

    /// Nobody may be using it.
    pub fn plug_in(&self) {
        run("umount", &[self.path.to_str().unwrap()]).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", self.path.to_str().unwrap()]);
    }
}

/// `strace` in front of the daemon, which stays our child.
///
/// `injections` are words of `-e inject=…`; `paths` limit them to calls about these files. Calls are counted by
/// thread.
pub fn strace(injections: &[&str], paths: &[&Path], log: &Path) -> Vec<String> {
    let mut words: Vec<String> =
        ["strace", "-D", "-f", "-q", "-o"].iter().map(|word| (*word).to_owned()).collect();
    words.push(log.to_str().unwrap().to_owned());
    let calls: Vec<&str> = injections.iter().filter_map(|words| words.split(':').next()).collect();
    words.extend(["-e".to_owned(), format!("trace={}", calls.join(","))]);
    for injection in injections.iter().filter(|injection| injection.contains(':')) {
        words.extend(["-e".to_owned(), format!("inject={injection}")]);
    }
    for path in paths {
        words.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    words
}

/// Whether `strace` works here.
pub fn strace_works() -> Result<(), String> {
    run("strace", &["-o", "/dev/null", "true"])
}
