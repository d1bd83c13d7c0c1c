//! `clipbase jobs …`: what an operator does with jobs.

use clap::{Args, Subcommand};
use clipbase::jobs::Canceled;
use clipbase::{Cursor, Job, JobId, JobStatus, Priority};
use serde::Serialize;
use serde_json::json;

use crate::commands::wanted::Wanted;
use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Output, table};
use crate::time::show_millis;

/// Create, list, follow, cancel and retry jobs
#[derive(Subcommand)]
pub(crate) enum Jobs {
    /// Store a video and queue a job for it; `clipbase work` runs it
    Create(Create),
    /// List jobs, newest first
    List(List),
    /// Show one job
    Get {
        /// The job
        id: JobId,
    },
    /// Show what happened to a job, in order
    Events(Events),
    /// Cancel a job: at once while queued, at its worker's next heartbeat while processing
    Cancel {
        /// The job
        id: JobId,
    },
    /// Give a failed job a fresh start
    Retry {
        /// The job
        id: JobId,
    },
    /// Remove a job with its events; its objects go with the next clean-up
    Delete {
        /// The job
        id: JobId,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    wanted: Wanted,
    /// high, normal or low
    #[arg(long, default_value_t = Priority::Normal)]
    priority: Priority,
    /// Which workers it is for
    #[arg(long, default_value_t = 0)]
    shard: i32,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only these: queued, processing, done or failed
    #[arg(long)]
    status: Option<JobStatus>,
    /// How many, 1 to 1000
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Read on where a list ended: its cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
}

#[derive(Args)]
pub(crate) struct Events {
    /// The job
    id: JobId,
    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: i32,
    /// Wait for more until the job has ended; with --json, one envelope a page
    #[arg(long)]
    follow: bool,
}

#[derive(Serialize)]
struct Listed {
    jobs: Vec<Job>,
    next: Option<String>,
}

impl Jobs {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let context = Context::open(global, environment).await?;
        let jobs = context.clipbase.jobs();
        match self {
            Self::Create(create) => {
                let job = create.run(&context).await?;
                output.success(&job, |job| {
                    format!("{}  queued; `clipbase work` runs it", job.id)
                });
            }
            Self::List(list) => list.run(&context, output).await?,
            Self::Get { id } => {
                let job = jobs.get(id).await?.ok_or_else(|| absent(id))?;
                output.success(&job, show_job);
            }
            Self::Events(events) => events.run(&context, output).await?,
            Self::Cancel { id } => {
                let canceled = jobs.cancel(id).await?;
                let (job, what) = match canceled {
                    Canceled::Ended(job) => (job, "canceled"),
                    Canceled::Requested(job) => (job, "its worker is told at the next heartbeat"),
                };
                output.success(&job, |job| format!("{}  {what}", job.id));
            }
            Self::Retry { id } => {
                let job = jobs.retry(id).await?;
                output.success(&job, |job| format!("{}  queued again", job.id));
            }
            Self::Delete { id } => {
                jobs.delete(id).await?;
                output.success(&json!({ "id": id }), |_| format!("{id}  deleted"));
            }
        }
        Ok(())
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<Job, Failure> {
        let mut job = self.wanted.store(context).await?;
        job.priority = self.priority;
        job.shard = self.shard;
        Ok(context.clipbase.jobs().create(&job).await?)
    }
}

impl List {
    async fn run(self, context: &Context, output: Output) -> Result<(), Failure> {
        let jobs = context.clipbase.jobs();
        let page = match self.status {
            Some(status) => jobs.list_by_status(status, self.limit, self.after).await?,
            None => jobs.list(self.limit, self.after).await?,
        };
        let listed = Listed {
            jobs: page.jobs,
            next: page.next.map(|cursor| cursor.to_string()),
        };
        output.success(&listed, |listed| {
            let rows = listed.jobs.iter().map(|job| {
                let (start, end) = job.range_ms();
                vec![
                    job.id.to_string(),
                    job.status.to_string(),
                    format!("{} %", job.progress),
                    format!("{} – {}", show_millis(start), show_millis(end)),
                    format!("{:.0}", job.created_at),
                    job.error_code.clone().unwrap_or_default(),
                ]
            });
            let header = ["job", "status", "progress", "range", "created", "error"];
            let more = listed
                .next
                .as_ref()
                .map(|next| format!("more with --after {next}"));
            table(&header, rows) + &more.unwrap_or_default()
        });
        Ok(())
    }
}

impl Events {
    async fn run(self, context: &Context, output: Output) -> Result<(), Failure> {
        let repository = context.clipbase.events();
        if !self.follow {
            let mut events = Vec::new();
            let mut page = repository.after(self.id, self.after, 1_000).await?;
            while let Some(last) = page.events.last().map(|event| event.seq) {
                events.append(&mut page.events);
                page = repository.after(self.id, last, 1_000).await?;
            }
            output.success(&events, |events| show_events(events));
            return Ok(());
        }
        let mut follower = repository.follow(self.id, self.after);
        while let Some(page) = follower.next().await? {
            output.success(&page.events, |events| show_events(events));
        }
        Ok(())
    }
}

fn show_events(events: &[clipbase::events::JobEvent]) -> String {
    events
        .iter()
        .map(|event| {
            let data = event
                .data
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!(
                "{:>4}  {:.0}  {:<16} {data}\n",
                event.seq, event.ts, event.kind
            )
        })
        .collect()
}

fn show_job(job: &Job) -> String {
    let (start, end) = job.range_ms();
    let mut rows = vec![
        ("status", format!("{} ({} %)", job.status, job.progress)),
        (
            "range",
            format!("{} – {}", show_millis(start), show_millis(end)),
        ),
        ("priority", format!("{}, shard {}", job.priority, job.shard)),
        (
            "attempts",
            format!(
                "{} of {}, lease {}",
                job.attempts, job.max_attempts, job.lease
            ),
        ),
        ("created", format!("{:.0}", job.created_at)),
    ];
    let mut add = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    add(
        "source",
        job.source_key.clone().or_else(|| job.source_url.clone()),
    );
    add("worker", job.worker_id.map(|id| id.to_string()));
    add("started", job.started_at.map(|time| format!("{time:.0}")));
    add("finished", job.finished_at.map(|time| format!("{time:.0}")));
    add("expires", job.expires_at.map(|time| format!("{time:.0}")));
    add("clip", job.result_video_key.clone());
    add("subtitles", job.result_srt_key.clone());
    let error = job.error_code.as_ref().map(|code| {
        format!(
            "{code}: {}",
            job.error_message.as_deref().unwrap_or("no message")
        )
    });
    add("error", error);
    let lines = rows
        .into_iter()
        .map(|(name, value)| format!("{name:<10} {value}\n"));
    format!("{}\n", job.id) + &lines.collect::<String>()
}

fn absent(id: JobId) -> Failure {
    Failure::new(
        "NOT_FOUND",
        format!("there is no job {id}; `clipbase jobs list` shows those there are"),
    )
}
