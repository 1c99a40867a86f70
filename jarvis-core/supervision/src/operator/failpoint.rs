//! Named places where a test may end the process, to show that nothing is lost there.

/// Ends this process by SIGKILL when `JARVIS_FAILPOINT` is `NAME:NTH` and this place is reached
/// for the NTH time. Does nothing without the feature `testkit`.
#[cfg(feature = "testkit")]
pub(super) fn failpoint(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static REACHED: AtomicU32 = AtomicU32::new(0);

    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("JARVIS_FAILPOINT").ok()?;
        let (name, nth) = text.split_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
        && let Some(us) = rustix::process::Pid::from_raw(std::process::id().cast_signed())
    {
        let _ = rustix::process::kill_process(us, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(feature = "testkit"))]
pub(super) const fn failpoint(_: &'static str) {}
