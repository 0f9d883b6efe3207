//! Packets and connections, as many as go in a time.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

/// The payload of a frame of 64 bytes.
const SMALL: usize = 22;
/// What is sent at once on a connection.
const LARGE: usize = 64 << 10;
/// So many are sent between two looks at the clock.
const PART: u32 = 64;

/// Repeats `work`, which does something as often as it answers, and prints how
/// often that is in a second.
fn rate(seconds: f64, mut work: impl FnMut() -> u32) {
    let time = Duration::from_secs_f64(seconds);
    let start = Instant::now();
    let mut count = 0u64;
    while start.elapsed() < time {
        count += u64::from(work());
    }
    #[allow(clippy::cast_precision_loss)] // it is far below 2^52
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0}");
}

/// Datagrams to an address and port; those that the host does not let go count
/// too.
pub fn datagrams(to: &str, seconds: f64) -> Result<(), Box<dyn Error>> {
    let any = if to.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let datagram = [0; SMALL];
    rate(seconds, || {
        for _ in 0..PART {
            // What nobody takes is answered with an error, sooner or later.
            let _ = socket.send(&datagram);
        }
        PART
    });
    Ok(())
}

/// To close a connection by a reset.
const RESET: libc::linger = libc::linger {
    l_onoff: 1,
    l_linger: 0,
};

/// Connections to an address and port, each reset at once.
pub fn connections(to: &str, seconds: f64) -> Result<(), Box<dyn Error>> {
    let to = to.parse()?;
    let mut failed = 0u32;
    rate(seconds, || {
        match TcpStream::connect_timeout(&to, Duration::from_secs(5)) {
            // Without a reset each would keep its port for a minute.
            Ok(stream) => u32::from(setsockopt(&stream, sockopt::Linger, &RESET).is_ok()),
            Err(_) => {
                failed += 1;
                0
            }
        }
    });
    if failed > 0 {
        return Err(format!("{failed} connections failed").into());
    }
    Ok(())
}

/// Bytes on one connection.
pub fn bytes(to: &str, seconds: f64) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(to)?;
    let part = vec![0; LARGE];
    let mut result = Ok(());
    let size = u32::try_from(LARGE)?;
    rate(seconds, || match stream.write_all(&part) {
        Ok(()) => size,
        Err(error) => {
            result = Err(error);
            0
        }
    });
    Ok(result?)
}

/// Takes datagrams, connections and what comes on them, until it is ended.
pub fn serve(port: &str) -> Result<(), Box<dyn Error>> {
    let port: u16 = port.parse()?;
    // Holds the port; what is not read is thrown away.
    let _datagrams = UdpSocket::bind(("0.0.0.0", port))?;
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            let mut part = vec![0; LARGE];
            while stream.read(&mut part).is_ok_and(|length| length > 0) {}
        });
    }
    Ok(())
}
