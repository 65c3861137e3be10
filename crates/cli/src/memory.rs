//! How much of the program itself is in memory.
//!
//! The kernel maps at least 64 KB of the file around each function that runs, and counts them as the process's until it
//! ends. Most of what a start touches (the command line's description, the setting up of everything) never runs again:
//! two thirds of what an idle server had resident, and a quarter of what a short verb had at its most.

/// Lets go of the program's code and constants. What still is needed comes back by itself, out of the page cache: a
/// microsecond for each 64 KB.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "the linker's names of where the program begins and ends, and a promise about that range"
)]
pub fn let_go_of_the_program() {
    use rustix::mm::{Advice, madvise};
    use std::ptr::addr_of;

    // Both are defined by every linker of the field (GNU ld, lld, mold, gold).
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    // SAFETY: only the addresses are used. Between them are the segments of the file that nobody may write, so that each
    // page that is dropped is read again as it was. The kernel passes over gaps.
    unsafe {
        let (start, end) = (addr_of!(__executable_start), addr_of!(etext));
        let page = rustix::param::page_size();
        let whole = (end.addr() - start.addr()) / page * page;
        // Not more than an advice: what is not taken costs memory, and nothing else.
        madvise(start.cast_mut().cast(), whole, Advice::LinuxDontNeed).ok();
    }
}

#[cfg(not(target_os = "linux"))]
pub fn let_go_of_the_program() {}
