//! Test support.

pub mod storage_contract;
