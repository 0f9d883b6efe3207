//! The one place where code is `unsafe`: what the crate nftnl leaves out, added
//! through its public traits.
#![allow(unsafe_code)] // each use says why it is sound

use std::ffi::{CStr, CString, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
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
