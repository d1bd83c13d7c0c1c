//! Writing down what is said: a seam, and an external command behind it.
//!
//! Used only when subtitles are wanted and the source has no text track. The command is an array of arguments
//! from the worker's configuration and never passes a shell; what a job says (its language) is checked before
//! it becomes a part of one.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::clipper::{ClipError, ClipErrorCode};
use crate::process::{self, Run, Tool, Trouble};

/// How long a transcription may take unless the settings say otherwise.
pub const TIME_MAX: Duration = Duration::from_secs(3600);
/// How large a transcript may be, in bytes: a day of dense subtitles is about 3 MB.
pub const TRANSCRIPT_BYTES_MAX: u64 = 8 * 1024 * 1024;

const AUDIO: &str = "{audio}";
const LANGUAGE: &str = "{language}";
const OUTPUT: &str = "{output}";
const OUTPUT_FILE: &str = "transcript.srt";
/// The longest language that is passed on: a job's column is as wide.
const LANGUAGE_BYTES_MAX: usize = 16;

/// Writes down what is said in a sound file.
#[async_trait]
pub trait Transcriber: Send + Sync + fmt::Debug {
    /// Returns SubRip text in the time of the sound. Text without cues says that nothing is said. Dropping
    /// the future stops the work and leaves no process behind.
    ///
    /// # Errors
    /// `TRANSCRIBER_FAILED`; `TRANSCRIBER_OUTPUT_INVALID`.
    async fn transcribe(&self, request: &TranscribeRequest) -> Result<String, ClipError>;

    /// Waits until nothing runs any more that dropped futures have left behind.
    async fn settled(&self) {}
}

/// What to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscribeRequest {
    /// The range's sound: WAV, 16 kHz, one channel, 16 bits.
    pub audio: PathBuf,
    /// The language, where the job names one.
    pub language: Option<String>,
    /// The directory of the sound; whatever is written goes here.
    pub scratch: PathBuf,
}

/// Which command writes down, and how far it may go.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// The program: a path, or a name that is looked up in the search path.
    pub program: PathBuf,
    /// Its arguments. `{audio}` stands for the sound's file, `{language}` for the language or `auto`, and
    /// `{output}` for the file that the SubRip text goes to; without that it is read from standard output.
    pub args: Vec<String>,
    /// The caller's `PATH`. The command gets it and no other variable of the worker's.
    pub search_path: Option<OsString>,
    /// How long it may take.
    pub time_max: Duration,
    /// How large its text may be, in bytes.
    pub transcript_bytes_max: u64,
}

impl CommandSettings {
    /// A command with the default bounds.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = String>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().collect(),
            search_path: None,
            time_max: TIME_MAX,
            transcript_bytes_max: TRANSCRIPT_BYTES_MAX,
        }
    }
}

/// An external command that writes SubRip text.
#[derive(Clone, Debug)]
pub struct CommandTranscriber {
    tool: Tool,
    settings: CommandSettings,
}

impl CommandTranscriber {
    /// Finds the program; runs nothing.
    ///
    /// # Errors
    /// `TRANSCRIBER_FAILED` when it is not there, or no argument holds `{audio}`.
    pub fn find(settings: CommandSettings) -> Result<Self, ClipError> {
        if !settings.args.iter().any(|arg| arg.contains(AUDIO)) {
            return Err(failed(
                "the transcriber's arguments must hold {audio}, which stands for the sound's file",
            ));
        }
        let program = &settings.program;
        let search_path = settings.search_path.as_deref();
        let is_name = program
            .parent()
            .is_some_and(|parent| parent.as_os_str().is_empty());
        let path = if is_name {
            search_path
                .iter()
                .flat_map(std::env::split_paths)
                .find_map(|folder| process::executable(folder.join(program)))
        } else {
            process::executable(program.clone())
        };
        let tool = path
            .and_then(|path| process::find("transcriber", Some(&path), None, search_path))
            .ok_or_else(missing)?;
        Ok(Self { tool, settings })
    }

    fn arguments(&self, request: &TranscribeRequest, output: &Path) -> Vec<OsString> {
        let language = request.language.as_deref().map_or("auto", plain_language);
        self.settings
            .args
            .iter()
            .map(|arg| fill(arg, &request.audio, language, output))
            .collect()
    }

    /// Reads the text that the command wrote into its file.
    async fn written(&self, output: &Path) -> Result<String, ClipError> {
        let facts = tokio::fs::symlink_metadata(output).await;
        let facts = facts.map_err(|_| invalid("it wrote no file"))?;
        if !facts.is_file() {
            return Err(invalid("what it wrote is no regular file"));
        }
        if facts.len() > self.settings.transcript_bytes_max {
            return Err(invalid("it is too large"));
        }
        let bytes = tokio::fs::read(output)
            .await
            .map_err(|_| invalid("its file cannot be read"))?;
        String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))
    }
}

#[async_trait]
impl Transcriber for CommandTranscriber {
    async fn transcribe(&self, request: &TranscribeRequest) -> Result<String, ClipError> {
        let output = request.scratch.join(OUTPUT_FILE);
        let args = self.arguments(request, &output);
        let run = Run {
            tool: &self.tool,
            args: &args,
            directory: Some(&request.scratch),
            variables: &[("HOME", request.scratch.as_os_str())],
            time_max: self.settings.time_max,
        };
        let most = self.settings.transcript_bytes_max;
        let (mut said, full) = (String::new(), Notify::new());
        let on_line = |line: &str| {
            if (said.len() + line.len()) as u64 >= most {
                full.notify_one();
            } else {
                said.push_str(line);
                said.push('\n');
            }
        };
        let (exit, stopped) = run
            .supervised(on_line, full.notified())
            .await
            .map_err(trouble)?;
        if stopped.is_some() {
            return Err(invalid("it is too large"));
        }
        tracing::debug!(
            code = exit.code,
            signal = exit.signal,
            "the transcriber ended"
        );
        if !exit.success {
            return Err(failed(
                "the transcriber gave up; try again, or ask for the clip without subtitles",
            ));
        }
        if self.settings.args.iter().any(|arg| arg.contains(OUTPUT)) {
            return self.written(&output).await;
        }
        Ok(said)
    }

    async fn settled(&self) {
        self.tool.dying.settled().await;
    }
}

/// Puts the values into an argument. Each stands for itself, whatever it holds: it is not looked at again.
fn fill(arg: &str, audio: &Path, language: &str, output: &Path) -> OsString {
    let mut filled = OsString::new();
    let mut rest = arg;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push(before);
        rest = if let Some(after) = from.strip_prefix(AUDIO) {
            filled.push(audio);
            after
        } else if let Some(after) = from.strip_prefix(LANGUAGE) {
            filled.push(language);
            after
        } else if let Some(after) = from.strip_prefix(OUTPUT) {
            filled.push(output);
            after
        } else {
            filled.push("{");
            from.strip_prefix('{').unwrap_or_default()
        };
    }
    filled.push(rest);
    filled
}

/// A language is passed on when it looks like one, and can be no option.
fn plain_language(text: &str) -> &str {
    let fits = (1..=LANGUAGE_BYTES_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits { text } else { "auto" }
}

fn trouble(trouble: Trouble) -> ClipError {
    match trouble {
        Trouble::Missing(_) => missing(),
        Trouble::TooLong(_, time) => failed(format!(
            "the transcriber did not finish within {} s; ask for a shorter clip, or raise the limit",
            time.as_secs_f64()
        )),
        Trouble::NotStarted(..) | Trouble::Unknown(_) => {
            failed("the transcriber could not be run; check the worker's settings")
        }
    }
}

fn missing() -> ClipError {
    failed("the transcriber was not found or cannot be run; check the worker's settings")
}

fn failed(message: impl Into<std::borrow::Cow<'static, str>>) -> ClipError {
    ClipError::new(ClipErrorCode::TranscriberFailed, message)
}

/// What is wrong with a transcript.
pub(crate) fn invalid(what: &str) -> ClipError {
    ClipError::new(
        ClipErrorCode::TranscriberOutputInvalid,
        format!("the transcriber's answer is not SubRip text that can be used: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_for_themselves() {
        let filled = |arg: &str| fill(arg, Path::new("/a/{output}.wav"), "en", Path::new("/o"));
        assert_eq!(filled("--in={audio}"), "--in=/a/{output}.wav");
        assert_eq!(filled("{language}:{output}{x}{"), "en:/o{x}{");
        assert_eq!(filled("plain"), "plain");
    }

    #[test]
    fn a_language_is_no_option() {
        assert_eq!(plain_language("pt-BR"), "pt-BR");
        for text in [
            "-x",
            "",
            "a b",
            "$(x)",
            "--model=/etc/passwd",
            "aaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(plain_language(text), "auto", "{text}");
        }
    }

    #[test]
    fn a_command_must_be_there_and_take_the_sound() {
        let find = |program: &str, arg: &str| {
            CommandTranscriber::find(CommandSettings::new(program, [arg.to_owned()]))
        };
        assert!(find("/bin/cat", "{audio}").is_ok());
        for (program, arg) in [
            ("/bin/cat", "x"),
            ("/nonexistent", "{audio}"),
            ("cat", "{audio}"),
        ] {
            let error = find(program, arg).unwrap_err();
            assert_eq!(error.code(), ClipErrorCode::TranscriberFailed);
        }
    }
}
