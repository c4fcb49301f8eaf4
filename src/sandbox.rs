//! The rights that a bridge keeps. It decodes what strangers send, with decoders that had holes before and will have some again.
//!
//! With Landlock (Linux 5.13 and newer) a process gives up, for itself and for ever, what it does not need: it writes where its
//! outputs go and nowhere else, reads the system and not the homes of people, starts no programs but itself, and signals nobody outside
//! (Linux 6.12). `no_new_privs` goes with it. Where the kernel has less, as much is given up as it knows.
//!
//! It holds for the thread that asks and all that come after it: call [`confine`] before there are others.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// The newest rights that are known here; older kernels enforce those that they know.
const ABI_KNOWN: ABI = ABI::V6;

/// What GStreamer, its plugins, name resolution and TLS read.
const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/timezone",
];

/// Devices of encoders and decoders, and those that are none, by the beginnings of their names.
const DEVICES: &[&str] =
    &["dma_heap", "dri", "full", "kfd", "media", "null", "nvidia", "random", "shm", "urandom", "video", "zero"];

/// Where an operator says that plugins and certificates are.
const PLACES: &[&str] = &[
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
    "LD_LIBRARY_PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// What a bridge needs besides the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Directories to write below, or files; `None` for everywhere, when it is not known yet what outputs will come.
    pub write: Option<Vec<PathBuf>>,
    /// Files and directories to read.
    pub read: Vec<PathBuf>,
}

/// How far the kernel went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Everything was given up.
    Full,
    /// What this kernel knows was given up.
    Partial,
    /// Nothing: it knows no Landlock, or a container forbids it.
    None,
}

/// The kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox could not be set up: {0}; --no-sandbox does without")]
pub struct SandboxError(#[from] RulesetError);

/// Gives up what is not needed, in this thread and those that it starts from now on.
///
/// # Errors
/// When a kernel that has Landlock refuses the rules: nothing was given up then.
pub fn confine(needs: &Needs) -> Result<Confinement, SandboxError> {
    let status = restrict(needs)?;
    Ok(match (status.ruleset, status.no_new_privs) {
        (RulesetStatus::FullyEnforced, true) => Confinement::Full,
        (RulesetStatus::NotEnforced, _) => Confinement::None,
        _ => Confinement::Partial,
    })
}

/// What this kernel would do, found out in a thread that ends.
pub fn available() -> Confinement {
    let tried = std::thread::spawn(|| confine(&Needs::default()).unwrap_or(Confinement::None)).join();
    tried.unwrap_or(Confinement::None)
}

fn restrict(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(ABI_KNOWN);
    let use_device = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev;
    // Without this one GStreamer would look for new plugins inside of this process.
    let run = read | AccessFs::Execute;
    let write: BitFlags<AccessFs> = all & !AccessFs::Execute;
    let everywhere = [PathBuf::from("/")];
    let writable = needs.write.as_deref().unwrap_or(&everywhere);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(ABI_KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(readable(needs), read))?
        .add_rules(path_beneath_rules(devices(), use_device))?
        .add_rules(path_beneath_rules(scanners(), run))?
        .add_rules(path_beneath_rules(caches(), write))?
        .add_rules(path_beneath_rules(writable.iter().map(|path| existing(path)), write))?
        .restrict_self()
}

fn readable(needs: &Needs) -> Vec<PathBuf> {
    let places = PLACES.iter().filter_map(env::var_os);
    let places = places.flat_map(|paths| env::split_paths(&paths).collect::<Vec<_>>());
    // A backtrace reads the program itself.
    let own = env::current_exe().into_iter();
    SYSTEM.iter().map(PathBuf::from).chain(places).chain(own).chain(needs.read.iter().cloned()).collect()
}

fn devices() -> Vec<PathBuf> {
    let known = |name: &OsStr| DEVICES.iter().any(|device| name.to_string_lossy().starts_with(device));
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    entries.filter(|entry| known(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// The program with which GStreamer looks at new plugins, wherever a distribution has it, and this one.
fn scanners() -> Vec<PathBuf> {
    let named = ["GST_PLUGIN_SCANNER_1_0", "GST_PLUGIN_SCANNER"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let usual = libraries
        .map(|library| library.join("gstreamer1.0/gstreamer-1.0/gst-plugin-scanner"))
        .chain([PathBuf::from("/usr/libexec/gstreamer-1.0/gst-plugin-scanner")]);
    // It is a program like others: the linker that starts it has to be run as well.
    let linkers = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"].map(PathBuf::from);
    // A recording is verified by `roomcast probe`, with the same rights as ours.
    let own = env::current_exe().into_iter();
    named.chain(usual).chain(linkers).chain(own).filter(|path| path.exists()).collect()
}

/// Where GStreamer keeps what it knows of its plugins.
fn caches() -> Vec<PathBuf> {
    let registries = ["GST_REGISTRY_1_0", "GST_REGISTRY"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let registries = registries.filter_map(|file| file.parent().map(Path::to_owned));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    let caches: Vec<_> = registries.chain(cache.map(|cache| cache.join("gstreamer-1.0"))).collect();
    for cache in &caches {
        // What is not there cannot be allowed, and GStreamer would look at all its plugins at every start.
        std::fs::create_dir_all(cache).ok();
    }
    caches
}

/// The path, or what of it there is already: the rest is made while the bridge runs.
fn existing(path: &Path) -> PathBuf {
    // The directory of a file without one is this one.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;
    use std::process::Command;

    use super::*;

    /// Tries everything in a thread of its own: the rights are gone for good.
    fn confined<T: Send>(needs: &Needs, attempt: impl FnOnce(Confinement) -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| attempt(confine(needs).unwrap()))
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    #[test]
    fn a_confined_bridge_writes_below_its_outputs_and_starts_nothing() {
        let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let needs = Needs { write: Some(vec![mine.path().join("not/there/yet")]), read: Vec::new() };
        std::fs::write(other.path().join("secret"), "of somebody").unwrap();
        confined(&needs, |confinement| {
            if confinement == Confinement::None {
                // Said in the output: nothing of what follows can be seen on this kernel.
                eprintln!("this kernel has no Landlock");
                return;
            }
            std::fs::create_dir_all(mine.path().join("not/there/yet")).unwrap();
            std::fs::write(mine.path().join("not/there/yet/call.mkv"), "frames").unwrap();
            let denied = |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), PermissionDenied);
            denied(std::fs::write(other.path().join("file"), "frames"));
            denied(std::fs::read(other.path().join("secret")).map(drop));
            denied(std::fs::read("/etc/passwd").map(drop));
            denied(Command::new("/bin/true").status().map(drop));
            assert!(std::fs::read("/etc/hosts").is_ok());
        });
    }

    #[test]
    fn what_is_not_there_yet_is_made_below_what_is() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(existing(&directory.path().join("rec/2026")), directory.path());
        assert_eq!(existing(Path::new("")), env::current_dir().unwrap());
    }

    #[test]
    fn a_bridge_whose_outputs_come_later_writes_anywhere_and_starts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        confined(&Needs::default(), |confinement| {
            std::fs::write(directory.path().join("file"), "frames").unwrap();
            let started = Command::new("/bin/true").status();
            assert_eq!(started.is_ok(), confinement == Confinement::None);
        });
    }
}
