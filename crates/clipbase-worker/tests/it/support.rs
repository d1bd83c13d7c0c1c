//! Sources made once a test process, and short words for asking.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use clipbase_worker::clipper::{
    Clip, ClipError, ClipErrorCode, ClipRequest, Clipper as _, Progress, Stage,
};
use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};
use tempfile::TempDir;

/// Where the programs are on every machine that runs these tests: no environment is read.
pub(crate) const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin";

/// The sample that `scripts/make-sample` makes: 20 s, 25 fps, a keyframe every 2 s.
///
/// Made once and kept between runs under a name that changes with the script. It appears by being
/// renamed, so that processes which make it at the same time do not see each other's half.
static SAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/make-sample");
    let mut hasher = DefaultHasher::new();
    std::fs::read(&script).unwrap().hash(&mut hasher);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sample = directory.join(format!("sample-{:016x}.mp4", hasher.finish()));
    if !sample.exists() {
        let work = tempfile::tempdir_in(directory).unwrap();
        let made = work.path().join("sample.mp4");
        assert!(Command::new(script).arg(&made).status().unwrap().success());
        std::fs::rename(made, &sample).unwrap();
    }
    sample
});

pub(crate) fn sample() -> PathBuf {
    SAMPLE.clone()
}

/// A source of its own for one test, made by ffmpeg from the arguments.
pub(crate) struct Scene {
    pub(crate) directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a program.
    pub(crate) fn executable(path: &Path, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        // Written by a child: a file that this process has open for writing cannot be run, nor can one
        // that another thread's child holds.
        let mut child = Command::new("tee")
            .arg(path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    /// Runs ffmpeg with the sample as first input.
    pub(crate) fn of_sample(&self, name: &str, args: &[&str]) -> PathBuf {
        let sample = sample();
        let mut all = vec!["-i", sample.to_str().unwrap()];
        all.extend(args);
        self.make(name, &all)
    }

    pub(crate) fn make(&self, name: &str, args: &[&str]) -> PathBuf {
        let path = self.path(name);
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(args)
            .arg(file_url(&path))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}");
        path
    }

    /// A request for a picture and nothing else.
    pub(crate) fn request(&self, source: &Path, start_ms: i64, end_ms: i64) -> ClipRequest {
        let scratch = self.path("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        ClipRequest {
            source: source.to_owned(),
            start_ms,
            end_ms,
            subtitles: false,
            burn_subtitles: false,
            subtitle_lang: None,
            scratch,
        }
    }
}

pub(crate) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

pub(crate) fn ffmpeg() -> Ffmpeg {
    Ffmpeg::find(&FfmpegSettings {
        search_path: Some(SEARCH_PATH.into()),
        ..FfmpegSettings::default()
    })
    .unwrap()
}

pub(crate) async fn clip(request: &ClipRequest) -> Result<Clip, ClipError> {
    ffmpeg().clip(request, &()).await
}

pub(crate) async fn refusal(request: &ClipRequest) -> ClipErrorCode {
    let error = clip(request).await.unwrap_err();
    let message = error.to_string();
    let scratch = request.scratch.parent().unwrap().to_str().unwrap();
    assert!(!message.contains(scratch), "{message}");
    error.code()
}

/// Remembers every report.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<(Stage, u8)>>);

impl Progress for Heard {
    fn report(&self, stage: Stage, percent: u8) {
        self.0.lock().unwrap().push((stage, percent));
    }
}

/// Asks ffprobe for values, one a line.
pub(crate) fn facts(path: &Path, args: &[&str]) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(args)
        .arg(file_url(path))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

pub(crate) fn codecs(path: &Path) -> Vec<String> {
    facts(path, &["-show_entries", "stream=codec_name"])
}

/// Decodes one picture as grey bytes: the frame shown at a time of a file.
pub(crate) fn picture(path: &Path, at: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-ss", at, "-i"])
        .arg(file_url(path))
        .args(["-map", "0:v:0", "-frames:v", "1", "-vf", "scale=320:180"])
        .args(["-pix_fmt", "gray", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), 320 * 180, "no picture at {at}");
    output.stdout
}

/// How different two pictures are: the mean difference of a pixel.
pub(crate) fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    f64::from(u32::try_from(sum).unwrap()) / f64::from(u32::try_from(a.len()).unwrap())
}
