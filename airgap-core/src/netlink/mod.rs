//! Everything that is said to the kernel and heard from it. No other module
//! does input or output with it.

mod archive;
mod attr;
mod batch;
mod conntrack;
mod decode;
mod elements;
mod encode;
mod fake;
mod ffi;
mod monitor;
mod owner;
mod raise;
mod registers;
mod route;
mod socket;
mod standing;
mod wire;
mod xt;

pub(crate) use archive::{pack, unpack};
pub(crate) use batch::{Batch, Operation, Position};
pub(crate) use conntrack::addresses_in_use;
pub use fake::FakeKernel;
pub(crate) use fake::folder as fake_folder;
pub(crate) use ffi::in_process_of_its_own;
pub(crate) use monitor::{Author, DeviceEvents, RulesetEvents, Told};
pub(crate) use owner::Owner;
pub use route::Device;
pub(crate) use route::{Route, Routes, devices, routes};
pub(crate) use socket::judge;
pub(crate) use socket::{Depth, Kernel};
pub(crate) use standing::{Connection, standing, track_standing};
