//! The real `clipbase` binary, as a person or a script runs it.
// `cfg(test)` tells clippy that helpers outside test functions are test code too.

#[cfg(test)]
mod cleanup;
#[cfg(test)]
mod clip;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod help;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod measured;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod support;
#[cfg(test)]
mod workers;
