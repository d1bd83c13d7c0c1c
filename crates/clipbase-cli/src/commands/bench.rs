//! `clipbase bench`.
use clap::Args;

use crate::context::Global;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;

/// Measure this machine.
#[derive(Args)]
pub(crate) struct Bench {}

impl Bench {
    #[allow(clippy::unused_async)]
    pub(crate) async fn run(self, _: &Global, _: &Environment, _: Output) -> Result<(), Failure> {
        Err(Failure::new("UNAVAILABLE", "not built yet"))
    }
}
