//! The rate limit: exact across processes, whatever the order.

use std::time::Duration;

use clipbase::api_keys::{PlainKey, Verifier};
use clipbase::{ApiKeyId, DatabaseMode, Error, Settings};
use clipbase_testkit::{Bench, run, run_in};
use tokio_postgres::Client;

use super::{at_once, key, pass, row, set};

const LIMIT: u32 = 10;
const SHARE: f64 = 6.0;

/// The database's clock, in seconds.
async fn clock(raw: &Client) -> f64 {
    let sql = "SELECT extract(epoch FROM clock_timestamp())::float8";
    raw.query_one(sql, &[]).await.unwrap().get(0)
}

/// Sends 200 requests from two processes at once. Returns how many passed, and how many shares of the minute
/// came back since `mark`, at most; moves the mark.
async fn storm(
    raw: &Client,
    verifiers: &[Verifier; 2],
    plain: &PlainKey,
    mark: &mut f64,
) -> (usize, usize) {
    let (one, two) = tokio::join!(
        at_once(&verifiers[0], plain, 100),
        at_once(&verifiers[1], plain, 100)
    );
    let end = clock(raw).await;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let shares = ((end - *mark) / SHARE).ceil() as usize;
    *mark = end;
    (one.0 + two.0, shares)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_together_never_exceed_the_limit_and_the_burst_in_a_minute() {
    for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
        run_in(mode, Settings::default(), async |bench: &Bench| {
            let other = bench.another(Settings::default());
            let verifiers = [
                bench.clipbase.api_keys().verifier(),
                other.api_keys().verifier(),
            ];
            let (id, plain) = key(&bench.clipbase, LIMIT).await;
            let raw = bench.database.raw().await;
            let mut mark = clock(&raw).await;
            let limit = LIMIT as usize;
            // The burst, then what each half of a minute brings back, and no more.
            let (first, came_back) = storm(&raw, &verifiers, &plain, &mut mark).await;
            assert!((limit..=limit + came_back).contains(&first), "{first}");
            let mut in_a_minute = first;
            let mut slack = came_back;
            for _ in 0..2 {
                pass(&raw, id, Duration::from_secs(30)).await;
                let (passed, came_back) = storm(&raw, &verifiers, &plain, &mut mark).await;
                let half = limit / 2..=limit / 2 + came_back;
                assert!(half.contains(&passed), "{passed}");
                in_a_minute += passed;
                slack += came_back;
            }
            assert!(in_a_minute <= 2 * limit + slack, "{in_a_minute}");
            // After any rest it is the burst again, and not more.
            pass(&raw, id, Duration::from_secs(86_400)).await;
            let (passed, came_back) = storm(&raw, &verifiers, &plain, &mut mark).await;
            assert!((limit..=limit + came_back).contains(&passed), "{passed}");
        })
        .await;
    }
}

/// Sends one request and returns whether it passed, with what is left and how long to wait.
async fn one(verifier: &Verifier, text: &str) -> Result<u32, Duration> {
    match verifier.authenticate(text).await {
        Ok(principal) => Ok(principal.rate.remaining),
        Err(Error::RateLimited {
            retry_after,
            rate: Some(rate),
        }) => {
            assert_eq!(rate.remaining, 0);
            Err(retry_after)
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Lets the key have used so much of its minute at this moment.
async fn used(raw: &Client, id: ApiKeyId, seconds: f64) {
    let assignment = format!("rate_full_at = clock_timestamp() + interval '{seconds} s'");
    set(raw, id, &assignment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_passes_while_a_share_of_the_minute_is_left() {
    run(async |bench: &Bench| {
        let (id, plain) = key(&bench.clipbase, LIMIT).await;
        let verifier = bench.clipbase.api_keys().verifier();
        let raw = bench.database.raw().await;
        assert_eq!(one(&verifier, plain.expose()).await, Ok(9));
        used(&raw, id, 53.9).await;
        assert_eq!(one(&verifier, plain.expose()).await, Ok(0));

        // A share of a minute is not back in the time that a test takes.
        let (id, plain) = key(&bench.clipbase, 1).await;
        assert_eq!(one(&verifier, plain.expose()).await, Ok(0));
        let before = row(&raw, id).await;
        let wait = one(&verifier, plain.expose()).await.unwrap_err();
        let minute = Duration::from_secs(60);
        assert!(wait > minute / 2 && wait <= minute, "{wait:?}");
        assert_eq!(
            row(&raw, id).await,
            before,
            "who comes too early writes nothing"
        );
        pass(&raw, id, wait).await;
        assert_eq!(
            one(&verifier, plain.expose()).await,
            Ok(0),
            "after the wait"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_locks_nobody_out() {
    run(async |bench: &Bench| {
        let (id, plain) = key(&bench.clipbase, LIMIT).await;
        let verifier = bench.clipbase.api_keys().verifier();
        let raw = bench.database.raw().await;
        for time in [
            "now() + interval '1 year'",
            "'infinity'",
            "'-infinity'",
            "NULL",
        ] {
            set(&raw, id, &format!("rate_full_at = {time}")).await;
            assert_eq!(one(&verifier, plain.expose()).await, Ok(9), "{time}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_the_columns_within_bounds() {
    run(async |bench: &Bench| {
        let raw = bench.database.raw().await;
        let sql = "ALTER TABLE api_keys DROP CONSTRAINT api_keys_rate_limit_bounded";
        raw.batch_execute(sql).await.unwrap();
        let (id, plain) = key(&bench.clipbase, LIMIT).await;
        let verifier = bench.clipbase.api_keys().verifier();
        for (column, limit) in [
            ("1", 1),
            ("7", 7),
            ("NULL", 60),
            ("59999", 59_999),
            ("2147483647", 60_000),
        ] {
            set(
                &raw,
                id,
                &format!("rate_limit_per_min = {column}, rate_full_at = NULL"),
            )
            .await;
            let rate = verifier.authenticate(plain.expose()).await.unwrap().rate;
            assert_eq!((rate.limit, rate.remaining), (limit, limit - 1), "{column}");
            assert_eq!(
                bench
                    .clipbase
                    .api_keys()
                    .get(id)
                    .await
                    .unwrap()
                    .unwrap()
                    .rate_limit_per_min,
                limit
            );
        }
        for column in ["0", "-5"] {
            set(
                &raw,
                id,
                &format!("rate_limit_per_min = {column}, rate_full_at = NULL"),
            )
            .await;
            let wait = one(&verifier, plain.expose()).await.unwrap_err();
            assert_eq!(
                wait,
                Duration::from_secs(60),
                "{column} lets nothing through"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_row_has_a_rate_within_bounds() {
    run(async |bench: &Bench| {
        let raw = bench.database.raw().await;
        for rate in [0, -1, 60_001] {
            let sql = format!("INSERT INTO api_keys (name, key_hash, rate_limit_per_min) VALUES ('n', 'h', {rate})");
            let error = raw.batch_execute(&sql).await.unwrap_err();
            let constraint = error.as_db_error().unwrap().constraint();
            assert_eq!(constraint, Some("api_keys_rate_limit_bounded"));
        }
    })
    .await;
}
