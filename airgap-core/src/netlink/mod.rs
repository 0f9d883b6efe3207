//! Everything that is said to the kernel and heard from it. No other module
//! does input or output with it.

mod attr;
mod batch;
mod decode;
mod encode;
mod ffi;
mod raise;
mod registers;
mod route;
mod socket;
mod xt;

pub(crate) use batch::{Batch, Operation, Position};
pub use route::Device;
pub(crate) use route::devices;
pub(crate) use socket::{Depth, Kernel};
