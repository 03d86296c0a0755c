//! The header's file, beside the store's directory: replaced as a whole, or destroyed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::drivers::disk::sync_dir;

/// The longest header that is read.
const HEADER_BYTES_MAX: u64 = 256 << 10;
/// The end of the name of a header that is being written.
const WRITING: &str = "writing";

/// The header at `path`, if there is one.
///
/// # Errors
///
/// What the file system says; `InvalidData` beyond [`HEADER_BYTES_MAX`].
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > HEADER_BYTES_MAX {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok(Some(bytes)),
    }
}

/// Puts a header in the place of the one before, durably: whoever reads has the one or the other.
///
/// # Errors
///
/// What the file system says; the one before is then still there, unless it was the last step that failed.
pub fn replace(path: &Path, header: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(WRITING);
    write(path, &beside, header).inspect_err(|_| {
        // It may be whole: nobody is to find in it what was refused.
        let _ = overwrite(&beside, &[]);
        let _ = std::fs::remove_file(&beside);
    })
}

fn write(path: &Path, beside: &Path, header: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(beside)?;
    file.write_all(header)?;
    file.sync_all()?;
    std::fs::rename(beside, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Overwrites the header where it lies with `rest` and zeros, then puts `rest` in its place. Whoever dies in
/// between leaves the header or `rest`, with zeros after it. What the device keeps of blocks that were
/// overwritten is beyond any program.
///
/// # Errors
///
/// What the file system says.
pub fn destroy(path: &Path, rest: &[u8]) -> io::Result<()> {
    overwrite(path, rest)?;
    // One that was being written holds the same keys.
    let beside = path.with_extension(WRITING);
    overwrite(&beside, &[])?;
    let _ = std::fs::remove_file(beside);
    replace(path, rest)
}

/// Overwrites the file at `path`, if there is one, with `rest` and zeros.
fn overwrite(path: &Path, rest: &[u8]) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let bytes = file.metadata()?.len().min(HEADER_BYTES_MAX);
    let mut all = rest.to_vec();
    all.resize(rest.len().max(usize::try_from(bytes).unwrap_or(0)), 0);
    // IMPORTANT: in one call, from the start: slots and state lie in its first page.
    file.write_all(&all)?;
    file.sync_all()
}
