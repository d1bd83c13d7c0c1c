//! The API as its clients see it: requests through the router, and through a real listener where the connection
//! matters.
// `cfg(test)` tells clippy that helpers outside test functions are test code too.

#[cfg(test)]
mod access;
#[cfg(test)]
mod auth_matrix;
#[cfg(test)]
mod bulk;
#[cfg(test)]
mod capture;
#[cfg(test)]
mod create;
#[cfg(test)]
mod document;
#[cfg(test)]
mod envelope;
#[cfg(test)]
mod events;
#[cfg(test)]
mod health;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod links;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod result;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod uploads;
