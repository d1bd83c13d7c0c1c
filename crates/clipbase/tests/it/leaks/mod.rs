//! Leaks: secrets are planted everywhere, everything is made to fail, and nothing may show them.

mod capture;
mod database;
mod keys;
mod rows;
mod server;
mod storage;
mod supabase;
