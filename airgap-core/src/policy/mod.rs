//! Policies: what they say, how they are read, and what is wrong with them.
//!
//! Text becomes a tree of [`node`]s (by `toml_reader` or `json_reader`), and
//! the tree a [`Policy`] (by `reader`), or a [`PolicyError`] with every mistake
//! that was found. Plain text without mistakes goes the same way one table at
//! a time (by `plain`). What is legal and likely wrong is a matter of
//! [`Policy::warnings`].

mod address;
mod allow;
mod diagnostic;
mod fault;
mod forwarder;
mod hash;
mod json_reader;
mod list_file;
mod load;
mod model;
pub mod node;
mod plain;
mod port;
mod reader;
mod render;
mod report;
mod schema;
mod source;
mod table;
mod toml_reader;
mod values;
mod warn;
mod way_in;

#[cfg(test)]
mod tests;

pub use allow::{Allow, AllowPairs, ExactPair};
pub use diagnostic::{Diagnostic, PolicyError, Related, Severity};
pub(crate) use load::Form;
pub use model::{
    Address, Admit, AdmitProto, AllowPair, BridgeExemption, BridgeName, ContainerSource, Dhcp,
    HostNeeds, HostPort, INTERFACE_NAME_MAX, Openings, Place, Policy, PortRange, Proto, Resolvers,
    ServiceForwarder, User, VERSION, check_interface_name,
};
pub use render::{Style, render, render_all};
pub use schema::schema;
pub use source::{Source, Span};
