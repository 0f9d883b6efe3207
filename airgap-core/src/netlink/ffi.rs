//! The one place where code is `unsafe`: what the crate nftnl leaves out, added
//! through its public traits, and a copy of this process.
#![allow(unsafe_code)] // each use says why it is sound

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use mnl::Socket;
use nftnl::expr::Expression;
use nftnl::nftnl_sys::{self as sys, libc};
use nftnl::{MsgType, NlMsg, Rule};

/// An expression of any kind that libnftnl knows, by its name and attributes.
pub(super) struct AnyExpression {
    pub name: &'static CStr,
    pub attributes: Vec<(u32, Attribute)>,
}

/// The value of an attribute of an expression, in the type that libnftnl keeps
/// it in.
pub(super) enum Attribute {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Text(CString),
    Bytes(Vec<u8>),
}

impl Expression for AnyExpression {
    fn to_expr(&self, _: &Rule) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a C string. libnftnl answers NULL when memory is
        // out or it does not know the name; the names here are its own.
        let expression = NonNull::new(unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) });
        let Some(expression) = expression else {
            std::process::abort()
        };
        for (kind, value) in &self.attributes {
            // The bindings count attributes as u32, the functions take u16.
            #[allow(clippy::cast_possible_truncation)]
            let kind = *kind as u16;
            let raw = expression.as_ptr();
            // SAFETY: the expression is alive; libnftnl copies what it is given.
            unsafe {
                match value {
                    Attribute::U8(v) => sys::nftnl_expr_set_u8(raw, kind, *v),
                    Attribute::U16(v) => sys::nftnl_expr_set_u16(raw, kind, *v),
                    Attribute::U32(v) => sys::nftnl_expr_set_u32(raw, kind, *v),
                    Attribute::U64(v) => sys::nftnl_expr_set_u64(raw, kind, *v),
                    Attribute::Text(v) => {
                        sys::nftnl_expr_set_str(raw, kind, v.as_ptr());
                    }
                    Attribute::Bytes(v) => {
                        let len = u32::try_from(v.len()).unwrap_or(u32::MAX);
                        sys::nftnl_expr_set(raw, kind, v.as_ptr().cast::<c_void>(), len);
                    }
                }
            }
        }
        expression
    }
}

/// A message whose payload is at hand: `struct nfgenmsg` and attributes.
pub(super) struct RawMessage<'a> {
    pub kind: u16,
    pub flags: u16,
    pub family: u8,
    pub sequence: u32,
    pub attributes: &'a [u8],
}

/// The longest message that a batch takes: the crate leaves room for 64 KiB
/// and a page behind every page of the batch.
pub(super) const MESSAGE_MAX: usize = 64 * 1024;

// SAFETY: `write` writes at most MESSAGE_MAX bytes, which is below what the
// trait allows.
unsafe impl NlMsg for RawMessage<'_> {
    unsafe fn write(&self, buf: *mut c_void, _: u32, _: MsgType) {
        assert!(
            self.attributes.len() + 20 <= MESSAGE_MAX,
            "a message that is too long for a batch"
        );
        // SAFETY: the caller gives a buffer for the largest message; libnftnl
        // writes a header and the family header of 20 bytes in all, and the
        // attributes behind them stay below the limit just checked.
        unsafe {
            let header = sys::nftnl_nlmsg_build_hdr(
                buf.cast(),
                self.kind,
                u16::from(self.family),
                self.flags,
                self.sequence,
            );
            let len = (*header).nlmsg_len as usize;
            let end = header.cast::<u8>().add(len);
            ptr::copy_nonoverlapping(self.attributes.as_ptr(), end, self.attributes.len());
            #[allow(clippy::cast_possible_truncation)] // below 64 KiB
            {
                (*header).nlmsg_len = (len + self.attributes.len()) as u32;
            }
        }
    }
}

/// A rule, with flags and a sequence number of our own: the crate's flags
/// would ask for an acknowledgement of each message, which a receive buffer
/// cannot hold, and always append.
pub(super) struct RuleMessage<'a> {
    pub rule: &'a Rule<'a>,
    pub flags: u16,
    pub sequence: u32,
}

// SAFETY: the rule's own message is written, then two fields of its header.
unsafe impl NlMsg for RuleMessage<'_> {
    unsafe fn write(&self, buf: *mut c_void, sequence: u32, kind: MsgType) {
        // SAFETY: the caller's promise about `buf` is passed on, and the
        // message begins with its header.
        unsafe {
            self.rule.write(buf, sequence, kind);
            let header = buf.cast::<libc::nlmsghdr>();
            (*header).nlmsg_flags = self.flags;
            (*header).nlmsg_seq = self.sequence;
        }
    }
}

/// The descriptor of a socket, for calls that borrow one.
pub(super) fn borrow(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the socket keeps its descriptor open for as long as it lives,
    // which is at least as long as the borrow.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h`
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the network namespace of a socket, which no other namespace
/// gets until the host starts anew; none where the kernel has none (before
/// 5.14).
pub(super) fn netns_cookie(socket: &Socket) -> Option<u64> {
    let mut cookie: u64 = 0;
    #[allow(clippy::cast_possible_truncation)] // the size of a u64
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes, which is what the number
    // has, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    (result == 0).then_some(cookie)
}

/// Switches an option of netlink(7) on. A kernel that lacks it refuses, and
/// the socket does without.
pub(super) fn enable_netlink_option(socket: &Socket, option: i32) {
    let on: libc::c_int = 1;
    #[allow(clippy::cast_possible_truncation)] // the size of an int
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int that outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size,
        );
    }
}

/// Does `work` in a process of its own, which outlives this one, its session
/// and its terminal. `work` runs in a copy of the calling thread, in its
/// network namespace, and has no file open but `kept`; the copy ends when
/// `work` returns, and nothing else of this process runs in it.
///
/// Other threads of this process are not in the copy, and what they held locked
/// stays locked there. `work` must therefore take no lock that is not its own:
/// no standard stream, no variable of the environment, no look-up of names.
/// Memory is the exception: glibc's `fork` leaves `malloc` usable.
///
/// # Errors
/// When there can be no process.
pub(crate) fn in_process_of_its_own(kept: OwnedFd, work: impl FnOnce(OwnedFd)) -> io::Result<()> {
    // SAFETY: the copy does nothing but what is said above, and ends by
    // `_exit`, so that no destructor or handler of this process runs twice.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A second copy is nobody's child: the caller need not wait for it,
            // and it can never get a terminal. Only the first leads a session.
            let _ = nix::unistd::setsid();
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                forget_signals();
                close_all_but(&kept);
                let work = move || work(kept);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            }
            // SAFETY: ends this copy, as promised above.
            unsafe { libc::_exit(0) }
        }
        child => {
            // It ends at once. Where the program ignores its children there is
            // nothing to wait for, which is fine too.
            let child = nix::unistd::Pid::from_raw(child);
            while nix::sys::wait::waitpid(child, None) == Err(nix::Error::EINTR) {}
            Ok(())
        }
    }
}

/// Undoes what the program has arranged for signals: its handlers must not run
/// in a copy of it. A terminal that ends is no reason to end.
fn forget_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        let what = if signal == libc::SIGHUP {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        // SAFETY: no handler is set. The kernel refuses signals that nobody can
        // arrange anything for.
        unsafe { libc::signal(signal, what) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Closes what the program has open: who reads from its standard output, or
/// waits for its lock, must not wait for the copy.
fn close_all_but(kept: &OwnedFd) {
    #[allow(clippy::cast_sign_loss)] // a descriptor that is open
    let kept = kept.as_raw_fd() as libc::c_uint;
    let close = |first: libc::c_uint, last: libc::c_uint| {
        // SAFETY: closes descriptors whose owners never run again, since this
        // copy ends by `_exit`.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if first <= last && result != 0 {
            // Before Linux 5.9; nothing here opens many.
            for fd in first..=last.min(65_536) {
                #[allow(clippy::cast_possible_wrap)] // at most 65,536
                // SAFETY: as above.
                unsafe {
                    libc::close(fd as libc::c_int)
                };
            }
        }
    };
    close(0, kept.saturating_sub(1));
    close(kept + 1, libc::c_uint::MAX);
}
