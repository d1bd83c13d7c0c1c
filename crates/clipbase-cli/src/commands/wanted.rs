//! What is asked of a video: the options that `clip` and `jobs create` share, and the way from them to a stored
//! source and a job.

use std::path::{Path, PathBuf};

use clap::Args;
use clipbase::cleanup::UPLOAD_TTL;
use clipbase::storage::StorageKey;
use clipbase::{ClipRange, JobId, NewJob, Source};

use crate::context::Context;
use crate::failure::Failure;
use crate::time::parse_millis;

#[derive(Args)]
pub(crate) struct Wanted {
    /// The video
    pub(crate) input: PathBuf,

    /// Where the clip starts: seconds (12.5) or HH:MM:SS (00:01:05.250)
    #[arg(long, value_name = "TIME", value_parser = parse_millis)]
    start: i64,

    /// Where the clip ends
    #[arg(long, value_name = "TIME", value_parser = parse_millis)]
    end: i64,

    /// Also write the subtitles, cut and shifted, beside the clip
    #[arg(long)]
    pub(crate) subtitles: bool,

    /// Draw the subtitles into the picture
    #[arg(long)]
    pub(crate) burn_subtitles: bool,

    /// Which text track: a language such as en, or auto
    #[arg(long, value_name = "LANG", default_value = "auto")]
    pub(crate) subtitle_lang: String,
}

impl Wanted {
    pub(crate) fn range(&self) -> Result<ClipRange, Failure> {
        Ok(ClipRange::from_millis(self.start, self.end)?)
    }

    /// Announces and stores the source, and returns the job to create for it. A crash before the job exists
    /// leaks nothing.
    pub(crate) async fn store(&self, context: &Context) -> Result<NewJob, Failure> {
        let range = self.range()?;
        let found = tokio::fs::metadata(&self.input).await;
        if !found.is_ok_and(|found| found.is_file()) {
            let what = format!("{} is no file that can be read", self.input.display());
            return Err(Failure::new("SOURCE_MISSING", what));
        }
        let id = JobId::new();
        let key = StorageKey::source(id, &extension(&self.input))?;
        let mut job = NewJob::new(id, Source::Upload(key.clone()), range);
        // Burning takes its text from the cut subtitles, so they are made either way.
        job.with_subtitles = self.subtitles || self.burn_subtitles;
        job.burn_subtitles = self.burn_subtitles;
        job.subtitle_lang.clone_from(&self.subtitle_lang);
        context
            .clipbase
            .cleanup()
            .announce_upload(&key, UPLOAD_TTL)
            .await?;
        context.clipbase.storage().upload(&self.input, &key).await?;
        Ok(job)
    }
}

/// The extension that the source is stored under: its own where that is a plain one.
fn extension(input: &Path) -> String {
    let own = input
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    if StorageKey::source(JobId::new(), own).is_ok() {
        own.to_owned()
    } else {
        "bin".to_owned()
    }
}
