//! The least that loading a ruleset can cost: the bytes of its batch, ready
//! made, in one `sendmsg`.

use std::error::Error;
use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Instant;

use airgap::{FakeKernel, Host, Policy};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendmsg,
    setsockopt, socket, sockopt,
};

/// Writes the batch that loads a policy into a kernel without one.
pub fn record(policy: &str, batch: &str) -> Result<(), Box<dyn Error>> {
    let kernel = FakeKernel::new()?;
    let host = Host::fake(&kernel);
    host.apply(&host.plan(&Policy::load(Path::new(policy))?)?)?;
    let mut bytes = kernel.last_batch();
    // Without the generation, which is another one in the kernel that it goes
    // to: behind 20 bytes of headers stands one attribute of 8.
    let begin = bytes.get(..4).and_then(|length| length.try_into().ok());
    if begin.map(u32::from_ne_bytes) != Some(28) {
        return Err("the batch does not begin with a generation".into());
    }
    bytes.drain(20..28);
    bytes.splice(..4, 20u32.to_ne_bytes());
    fs::write(batch, bytes)?;
    Ok(())
}

/// Sends a batch, and prints how many seconds that took.
pub fn send(batch: &str) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(batch)?;
    let wire = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&wire, sockopt::SndBufForce, &(2 * bytes.len()))?;
    // The library's own messages are of 64 KiB and its pages of 1 MiB.
    let pages: Vec<IoSlice> = bytes.chunks(1 << 20).map(IoSlice::new).collect();
    let start = Instant::now();
    let sent = sendmsg(
        wire.as_raw_fd(),
        &pages,
        &[],
        MsgFlags::empty(),
        Some(&NetlinkAddr::new(0, 0)),
    )?;
    let took = start.elapsed();
    if sent != bytes.len() {
        return Err("the kernel took only a part of the batch".into());
    }
    let mut answer = [0; 4096];
    while let Ok(length) = recv(wire.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT) {
        // Behind the header of 16 bytes stands the error number, 0 for none.
        let code = answer
            .get(..length)
            .and_then(|a| a.get(16..20))
            .and_then(|c| c.try_into().ok());
        match code.map(i32::from_ne_bytes) {
            Some(0) | None => {}
            Some(errno) => return Err(io::Error::from_raw_os_error(-errno).into()),
        }
    }
    println!("{:.6}", took.as_secs_f64());
    Ok(())
}
