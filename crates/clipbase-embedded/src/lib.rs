//! Runs a private PostgreSQL.
