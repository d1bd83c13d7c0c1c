//! What a worker counts.

use std::collections::HashMap;

use clipbase_testkit::run;
use clipbase_worker::clipper::ClipErrorCode;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use crate::at_work::{at_work, ends, folder, hasty, job};
use crate::obedient::{Obedient, Order};

// One thread, so that every task of the worker counts where the test looks.
#[tokio::test(flavor = "current_thread")]
async fn jobs_and_claims_are_counted_and_gauges_come_back() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        for order in [Order::Clip, Order::Fail(ClipErrorCode::NotAVideo)] {
            let id = job(bench).await;
            clipper.begun().await;
            clipper.order(order);
            ends(bench, id).await;
        }
        at_work.stop().await;
    })
    .await;
    let mut numbers = HashMap::new();
    for (key, _, _, value) in seen.snapshot().into_vec() {
        let (name, labels) = key.key().clone().into_parts();
        let label = labels.first().map_or("", |label| label.value()).to_owned();
        #[expect(clippy::cast_precision_loss, reason = "the counts are small")]
        let number = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(level) => level.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        numbers.insert((name.as_str().to_owned(), label), number);
    }
    let number = |name: &str, label: &str| {
        let name = format!("clipbase_worker_{name}");
        numbers
            .get(&(name, label.to_owned()))
            .copied()
            .unwrap_or(0.0)
    };
    assert_eq!(
        (number("jobs_total", "done"), number("jobs_total", "failed")),
        (1.0, 1.0)
    );
    assert_eq!(
        (
            number("job_seconds", "done"),
            number("job_seconds", "failed")
        ),
        (1.0, 1.0)
    );
    assert!((number("claims_total", "") - 2.0).abs() < f64::EPSILON);
    assert!(number("claim_seconds", "") >= 2.0);
    for gauge in ["jobs_held", "jobs_running"] {
        let name = (format!("clipbase_worker_{gauge}"), String::new());
        assert_eq!(numbers.get(&name), Some(&0.0), "{gauge}");
    }
}
