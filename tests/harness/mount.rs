//! Small file systems to run full: ext4 in a file, and tmpfs. For root only.
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A mounted file system, unmounted when dropped, also on a panic. Declare it before what uses it, so that it is dropped last.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// An ext4 file system of `megabytes` in a file; `None` with a line when this machine or user cannot have one.
    pub fn ext4(megabytes: u64) -> Option<Self> {
        let folder = TempDir::with_prefix("ringmq-disk-").expect("the temporary folder is writable");
        let image = folder.path().join("image");
        let file = File::create(&image).expect("the temporary folder is writable");
        file.set_len(megabytes << 20).expect("a sparse file needs no room");
        // No blocks kept for root: full is full.
        let make = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image).output();
        Self::mount(folder, make, Command::new("mount").args(["-o", "loop"]).arg(&image))
    }

    /// A tmpfs of `megabytes`; likewise.
    pub fn tmpfs(megabytes: u64) -> Option<Self> {
        let folder = TempDir::with_prefix("ringmq-tmpfs-").expect("the temporary folder is writable");
        let size = format!("size={megabytes}m");
        Self::mount(
            folder,
            Command::new("true").output(),
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]),
        )
    }

    fn mount(folder: TempDir, made: io::Result<Output>, mount: &mut Command) -> Option<Self> {
        let disk = Self { folder };
        fs::create_dir(disk.path()).expect("the temporary folder is writable");
        for result in [made, mount.arg(disk.path()).output()] {
            let problem = match result {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => error.to_string(),
            };
            writeln!(io::stderr(), "skipped: mounting a small file system needs root: {problem}")
                .expect("stderr is open");
            return None;
        }
        Some(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Writes a file of `megabytes` into it, to be removed when room is wanted.
    pub fn ballast(&self, name: &str, megabytes: usize) -> PathBuf {
        let path = self.path().join(name);
        write_and_flush(&path, &vec![0xAA; megabytes << 20]).expect("it has room for the ballast");
        path
    }

    /// Fills what is left, to the last block.
    pub fn fill(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        let mut file = File::create(&path).expect("a name needs no block");
        // What was reserved for writes that are still in memory is known to be free only when they are on the disk.
        for size in [1 << 20, 4096, 4096, 1] {
            let block = vec![0xAA; size];
            while file.write_all(&block).is_ok() {}
            drop(file.sync_data());
        }
        path
    }
}

fn write_and_flush(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily if something still uses it: a mount that stays would be in the way of everything else on this machine. Both fail
        // when it was never mounted.
        let unmount = |flags: &[&str]| Command::new("umount").args(flags).arg(self.path()).output();
        if !unmount(&[]).is_ok_and(|output| output.status.success()) {
            drop(unmount(&["-l"]));
        }
    }
}

#[test]
fn a_small_disk_fills_up_and_goes_away() {
    let Some(disk) = SmallDisk::ext4(16) else { return };
    let ballast = disk.ballast("ballast", 4);
    let filler = disk.fill("filler");
    let more = disk.path().join("more");
    assert!(write_and_flush(&more, &[1; 4096]).is_err(), "the disk is full");
    fs::remove_file(ballast).expect("it is there");
    write_and_flush(&more, &[1; 4096]).expect("there is room again");
    assert!(fs::metadata(filler).expect("it is there").len() > 1 << 20);
    let path = disk.path().display().to_string();
    drop(disk);
    let mounts = fs::read_to_string("/proc/mounts").expect("it is readable");
    assert!(!mounts.contains(&path), "still mounted: {path}");
}
