//! The counter in a file: it goes up, it stays, and what is no counter is an error.
#![cfg(feature = "secure")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;

use larder::secret::{FileGuard, KeyErrorKind, RollbackGuard};

#[test]
fn it_goes_up_and_never_down() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.guard");
    let guard = FileGuard::new(&path);
    assert_eq!(guard.counter().unwrap(), 0);
    for to in [1, 7, 7, u64::MAX] {
        guard.advance(to).unwrap();
        assert_eq!(FileGuard::new(&path).counter().unwrap(), to);
    }
    let error = guard.advance(7).unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Refused);
    assert!(
        error.to_string().contains("does not go back to 7"),
        "{error}"
    );
    assert_eq!(guard.counter().unwrap(), u64::MAX);
}

#[test]
fn what_is_no_number_is_not_zero_and_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.guard");
    let guard = FileGuard::new(&path);
    guard.advance(41).unwrap();
    // Cut short, empty, beyond the range, no number, and too much.
    let wrong = [
        "41",
        "",
        "\n",
        "-1\n",
        "18446744073709551616\n",
        "4 1\n",
        "41\n\n",
    ];
    let wrong = wrong
        .map(str::to_owned)
        .into_iter()
        .chain(["1".repeat(2_000)]);
    for text in wrong {
        fs::write(&path, &text).unwrap();
        for error in [guard.counter().unwrap_err(), guard.advance(42).unwrap_err()] {
            assert_eq!(error.kind, KeyErrorKind::Malformed, "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn one_at_a_time_moves_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.guard");
    let guard = FileGuard::new(&path);
    guard.advance(1).unwrap();
    let lock = fs::File::open(dir.path().join(".app.guard.lock")).unwrap();
    lock.lock().unwrap();
    let error = guard.advance(2).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(guard.counter().unwrap(), 1);
    drop(lock);
    guard.advance(2).unwrap();
    assert_eq!(guard.counter().unwrap(), 2);
}

#[test]
fn threads_that_advance_it_at_once_leave_the_highest() {
    let dir = tempfile::tempdir().unwrap();
    let guard = FileGuard::new(dir.path().join("app.guard"));
    std::thread::scope(|scope| {
        for first in 1..=4_u64 {
            let guard = &guard;
            scope.spawn(move || {
                for to in (first..=100).step_by(4) {
                    // Until it stands there or further up.
                    while let Err(error) = guard.advance(to) {
                        if error.kind == KeyErrorKind::Refused {
                            break;
                        }
                        assert!(error.is_retryable(), "{error}");
                        assert!(guard.counter().unwrap() <= 100);
                    }
                    assert!(guard.counter().unwrap() >= to);
                }
            });
        }
    });
    assert_eq!(guard.counter().unwrap(), 100);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_change_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.guard");
    let guard = FileGuard::new(&path);
    guard.advance(3).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let error = FileGuard::new(&link).advance(4).unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Refused, "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    for error in [guard.counter().unwrap_err(), guard.advance(4).unwrap_err()] {
        assert_eq!(error.kind, KeyErrorKind::Refused);
        assert!(error.to_string().contains("guard file"), "{error}");
    }
}
