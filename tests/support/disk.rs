//! A disk of one's own: a file system in a file. What is not in that file was only in memory; it can be frozen.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted loop device, or a mere directory where that is not permitted: then it says so, and what it cannot do is judged in another way.
pub(crate) struct LoopDisk {
    home: tempfile::TempDir,
    is_mounted: bool,
}

fn run(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

fn mount(image: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).expect("a directory");
    run("mount", &["-o".as_ref(), "loop".as_ref(), image, to])
}

impl LoopDisk {
    /// Makes and mounts it.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let image = home.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("64 MB of disk");
        let made = run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image]);
        let mounted = made.and_then(|()| mount(&image, &home.path().join("disk")));
        if let Err(reason) = &mounted {
            std::fs::create_dir_all(home.path().join("disk")).expect("a directory");
            eprintln!(
                "NO LOOP DEVICE may be used here, which needs root and e2fsprogs ({reason}): judged in another way"
            );
        }
        Self { home, is_mounted: mounted.is_ok() }
    }

    /// Whether it is a disk.
    pub(crate) fn is_mounted(&self) -> bool {
        self.is_mounted
    }

    /// A path on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.beside("disk").join(name)
    }

    /// A path on the disk that it is on.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What a machine finds that starts again after a power cut at this moment: a mounted copy of what is on the disk.
    pub(crate) fn cut(&self, number: usize) -> Option<PathBuf> {
        let (image, to) = (self.beside(&format!("image{number}")), self.beside(&format!("cut{number}")));
        self.is_mounted.then(|| {
            std::fs::copy(self.beside("image"), &image).expect("room for a copy");
            mount(&image, &to).expect("what mounted before mounts again");
            to
        })
    }

    /// From now on, and no more: whoever writes to it waits.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        let how = if is_frozen { "--freeze" } else { "--unfreeze" };
        run("fsfreeze", &[how.as_ref(), &self.path("")])
            .expect("a mounted disk can be frozen: apt-get install util-linux");
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if !self.is_mounted {
            return;
        }
        // It may be frozen when a test has failed.
        Command::new("fsfreeze").arg("--unfreeze").arg(self.path("")).output().ok();
        let entries = std::fs::read_dir(self.home.path()).expect("it is there");
        for directory in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            // Lazily: whoever still writes to it must not keep it. Some are mere directories.
            Command::new("umount").arg("-l").arg(directory).output().ok();
        }
    }
}
