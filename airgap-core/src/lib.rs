//! Puts a Linux host with containers behind an air gap that has exactly the
//! openings its policy names.

pub mod policy;
