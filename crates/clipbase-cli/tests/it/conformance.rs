//! The API keeps to its document whatever it is sent: schemathesis makes the requests and judges the answers.
//!
//! `scripts/setup --test` installs it below `target/tools`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::serving::{Serving, output, succeeds};
use crate::support::Place;

/// Every check there is, the same requests each time.
///
/// A request that fits the schema may still be refused where no schema can say why: an end before its start, a cursor
/// of no list (422), a signature that was made up (403), a job that is not there (404) or in another state (409).
const CONFIG: &str = r#"
seed = 1
request-timeout = 20
[generation]
max-examples = 8
database = "none"
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 422]
"#;

/// Left out: it streams for an hour, and a request of it would never be answered. `dashboard` follows it.
const STREAM: &str = "/v1/live";

#[tokio::test]
async fn the_api_keeps_to_its_document() {
    let place = Place::on_a_database().await;
    let serving = Serving::start(&place, &[], None);
    let config = place.path("data/schemathesis.toml");
    fs::write(&config, CONFIG).unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let mut schemathesis = Command::new(tools.join("schemathesis"));
    schemathesis
        .current_dir(place.path("data"))
        .arg("--config-file")
        .arg(&config)
        .args(["run", "--no-color", "--exclude-path", STREAM])
        .args(["--phases", "examples,coverage,fuzzing"])
        .arg(format!("{}/openapi.json", serving.url()));
    let said = succeeds(&output(&mut schemathesis));
    // All but the stream were reached.
    assert!(said.contains("Selected: 19/20"), "{said}");
    assert!(said.contains("Tested: 19"), "{said}");
    serving.terminate().good();
}
