//! How errors of fjall are judged.

use super::*;

#[test]
fn errors_are_judged_by_what_would_help() {
    let io = |kind: io::ErrorKind| judge(&fjall::Error::Io(kind.into()));
    assert_eq!(io(io::ErrorKind::InvalidInput).0, Verdict::Damaged);
    assert_eq!(io(io::ErrorKind::PermissionDenied).0, Verdict::Denied);
    let full = (Verdict::Broken, "no space left on the device".into());
    assert_eq!(io(io::ErrorKind::StorageFull), full);
    assert_eq!(judge(&fjall::Error::Poisoned).0, Verdict::Poisoned);
    assert_eq!(judge(&fjall::Error::Unrecoverable).0, Verdict::Damaged);
    assert_eq!(judge(&fjall::Error::Locked).0, Verdict::Locked);
    assert_eq!(judge(&fjall::Error::KeyspaceDeleted).0, Verdict::Broken);
    let later = judge(&fjall::Error::InvalidVersion(None));
    assert_eq!(later.0, Verdict::Damaged);
    assert!(later.1.contains("version"), "{}", later.1);
    let eio = io::Error::from_raw_os_error(5);
    assert!(say_io(&eio).ends_with("os error 5"));
}
