//! What is measured, and the requests of it as bytes.

use clipbase::cleanup::UPLOAD_TTL;
use clipbase::storage::{StorageKey, byte_stream};
use clipbase::{Clipbase, JobId};
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::World;
use crate::server::Kind;

/// Keys that callers use in turn.
pub(crate) const KEYS: usize = 16;
/// An address as a client sends it.
pub(crate) const VIDEO: &str = "https://www.youtube.com/watch?v=dQw4w9WgXcQ";
/// Uploads made at once.
const UPLOADS_AT_ONCE: usize = 16;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Get,
    /// The first 50 jobs.
    List,
    /// Of an address.
    Create,
    /// The same with an `Idempotency-Key` that is new.
    CreateOnce,
    /// Of an announced upload that lies in the storage.
    CreateUpload,
    /// The same with an `Idempotency-Key` that is new.
    CreateUploadOnce,
}

/// Whom the bare handler is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The API without keys.
    Open,
    /// The API with keys, sixteen of them in turn.
    Keys,
    /// The API with keys, one for all callers.
    OneKey,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) step: Step,
    pub(crate) target: Target,
}

/// Every case, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let open = [
        Step::Get,
        Step::List,
        Step::Create,
        Step::CreateOnce,
        Step::CreateUpload,
        Step::CreateUploadOnce,
    ];
    let open = open.map(|step| (step, Target::Open));
    let keys = [Step::Get, Step::List, Step::Create].map(|step| (step, Target::Keys));
    let all = open
        .into_iter()
        .chain(keys)
        .chain([(Step::Get, Target::OneKey)]);
    all.map(|(step, target)| Case { step, target })
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let step = match self.step {
            Step::Get => "get",
            Step::List => "list 50",
            Step::Create => "create",
            Step::CreateOnce => "create, idempotent",
            Step::CreateUpload => "create, upload",
            Step::CreateUploadOnce => "create, upload, idempotent",
        };
        let target = match self.target {
            Target::Open => "",
            Target::Keys => ", keys",
            Target::OneKey => ", one key",
        };
        format!("{step}{target}")
    }
}

impl Target {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Open => Kind::Open,
            Self::Keys | Self::OneKey => Kind::Keys,
        }
    }
}

/// Makes the requests of a measurement, and what they name.
pub(crate) struct Maker<'a> {
    world: &'a World,
    count: u32,
    /// The next job to be read: those of a measurement lie all over the table.
    next: usize,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(world: &'a World, count: u32) -> Self {
        Self {
            world,
            count,
            next: 0,
        }
    }

    /// How many of the requests are sent before the clock runs: every connection is open and every statement
    /// prepared by then.
    pub(crate) fn warm_up(&self) -> usize {
        self.count as usize / 20 + 64
    }

    /// Returns the requests of one measurement, after those of the warm-up.
    pub(crate) async fn requests(&mut self, case: &Case, is_api: bool) -> Vec<Vec<u8>> {
        let count = match case.step {
            Step::List => self.count / 4,
            _ => self.count,
        };
        let count = count as usize + self.warm_up();
        let uploads = match case.step {
            Step::CreateUpload | Step::CreateUploadOnce => {
                make_uploads(&self.world.clipbase, count, is_api).await
            }
            _ => Vec::new(),
        };
        (0..count)
            .map(|n| {
                let key = match case.target {
                    Target::Keys if is_api => self.world.keys.get(n % KEYS),
                    Target::OneKey if is_api => self.world.keys.first(),
                    _ => None,
                };
                let head = key.map_or(String::new(), |key| {
                    format!("authorization: Bearer {key}\r\n")
                });
                self.request(case.step, head, uploads.get(n).copied())
            })
            .collect()
    }

    fn request(&mut self, step: Step, mut head: String, upload: Option<JobId>) -> Vec<u8> {
        let about = match step {
            Step::Get => {
                // A prime apart, so that neighbours do not share a page.
                self.next = (self.next + 7_919) % self.world.jobs.len();
                let job = self.world.jobs[self.next];
                return format!("GET /v1/jobs/{job} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\n")
                    .into_bytes();
            }
            Step::List => {
                return format!("GET /v1/jobs?limit=50 HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\n")
                    .into_bytes();
            }
            Step::Create | Step::CreateOnce => format!("\"youtube\":\"{VIDEO}\""),
            Step::CreateUpload | Step::CreateUploadOnce => {
                format!("\"upload\":\"{}\"", upload.unwrap())
            }
        };
        if matches!(step, Step::CreateOnce | Step::CreateUploadOnce) {
            head += &format!("idempotency-key: {}\r\n", Uuid::new_v4());
        }
        let body = format!("{{\"source\":{{{about}}},\"start\":5,\"end\":12.5}}");
        let length = body.len();
        format!(
            "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{head}\r\n{body}"
        )
        .into_bytes()
    }
}

/// Announces sources, and stores them where somebody will look: the bare handler does not.
async fn make_uploads(clipbase: &Clipbase, count: usize, is_stored: bool) -> Vec<JobId> {
    let ids: Vec<JobId> = (0..count).map(|_| JobId::new()).collect();
    let mut tasks = JoinSet::new();
    for share in ids.chunks(count.div_ceil(UPLOADS_AT_ONCE)) {
        let (clipbase, share) = (clipbase.clone(), share.to_vec());
        tasks.spawn(async move {
            for id in share {
                let key = StorageKey::source(id, "mp4").unwrap();
                clipbase
                    .cleanup()
                    .announce_upload(&key, UPLOAD_TTL)
                    .await
                    .unwrap();
                if is_stored {
                    let content = byte_stream("video");
                    clipbase
                        .storage()
                        .upload_stream(content, 5, &key)
                        .await
                        .unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    ids
}
