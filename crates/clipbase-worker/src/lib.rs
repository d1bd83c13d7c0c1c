//! Claims clip jobs and runs them.
