//! The way to the kernel: a netlink socket, or one to a fake kernel.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use mnl::{Bus, Socket};
use nix::sys::socket::{MsgFlags, NetlinkAddr, recv, sendmsg, setsockopt, sockopt};

use super::fake::{self, FakeSocket};
use super::ffi;

/// A socket to the kernel of this thread.
pub(super) enum Wire {
    Netlink(Socket),
    Fake(FakeSocket),
}

impl Wire {
    /// Opens a socket to a part of the kernel.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(bus: Bus) -> io::Result<Self> {
        match fake::current() {
            Some(kernel) => Ok(Self::Fake(FakeSocket::new(kernel, bus))),
            None => Socket::new(bus).map(Self::Netlink),
        }
    }

    /// Switches an option of netlink(7) on, where the kernel has it.
    pub fn enable(&self, option: i32) {
        if let Self::Netlink(socket) = self {
            ffi::enable_netlink_option(socket, option);
        }
    }

    /// The address that the kernel gave it; 0 to a fake one.
    pub fn address(&self) -> u32 {
        match self {
            Self::Netlink(socket) => socket.portid(),
            Self::Fake(_) => 0,
        }
    }

    /// Makes room for answers of so many bytes, or less where that is not
    /// allowed.
    pub fn raise_receive_queue(&self, bytes: usize) {
        if let Self::Netlink(socket) = self {
            raise_receive_queue(socket, bytes);
        }
    }

    /// Makes room for a message of so many bytes.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn raise_send_buffer(&self, bytes: usize) -> nix::Result<()> {
        match self {
            Self::Netlink(socket) => {
                let fd = ffi::borrow(socket);
                setsockopt(&fd, sockopt::SndBufForce, &bytes)
                    .or_else(|_| setsockopt(&fd, sockopt::SndBuf, &bytes))
            }
            Self::Fake(_) => Ok(()),
        }
    }

    /// What tells the network namespace from all others, where the kernel says.
    pub fn netns_cookie(&self) -> Option<u64> {
        match self {
            Self::Netlink(socket) => ffi::netns_cookie(socket),
            Self::Fake(socket) => Some(socket.cookie()),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The operating system's.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        match self {
            Self::Netlink(socket) => socket.send(request).map(|_| ()),
            Self::Fake(socket) => {
                socket.send(request);
                Ok(())
            }
        }
    }

    /// Sends the parts of a message as one, and says how many bytes went.
    ///
    /// # Errors
    /// The operating system's.
    pub fn send_parts(&self, parts: &[IoSlice]) -> nix::Result<usize> {
        match self {
            Self::Netlink(socket) => {
                let kernel = NetlinkAddr::new(0, 0);
                let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
                sendmsg(fd, parts, &[], flags, Some(&kernel))
            }
            Self::Fake(socket) => {
                let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                socket.send(&whole);
                Ok(whole.len())
            }
        }
    }

    /// Waits for a datagram.
    ///
    /// # Errors
    /// The operating system's.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Netlink(socket) => socket.recv_raw(buffer),
            Self::Fake(socket) => socket.receive(buffer).map_err(Into::into),
        }
    }

    /// Takes a datagram that is there already.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; else the operating system's.
    pub fn receive_now(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        match self {
            Self::Netlink(socket) => recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Self::Fake(socket) => socket.receive(buffer),
        }
    }
}

/// Makes room for so many bytes to receive, or less where that is not allowed.
pub(super) fn raise_receive_queue(socket: &Socket, bytes: usize) {
    let fd = ffi::borrow(socket);
    if setsockopt(&fd, sockopt::RcvBufForce, &bytes).is_err() {
        let _ = setsockopt(&fd, sockopt::RcvBuf, &bytes);
    }
}
