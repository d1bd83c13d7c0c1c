//! Leaks: secrets are planted everywhere, everything is made to fail, and nothing may show them.

mod capture;
mod database;
mod rows;
mod server;
mod storage;
mod supabase;
