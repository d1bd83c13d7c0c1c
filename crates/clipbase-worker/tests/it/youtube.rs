//! The real yt-dlp, held to a server of the test's own. Without yt-dlp on the machine these tests fail.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clipbase_testkit::database::workspace;
use clipbase_testkit::wait_until;
use clipbase_worker::clipper::{ClipErrorCode, Stage};
use clipbase_worker::youtube::{FetchRequest, Fetcher as _, YtDlp, YtDlpSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Heard, SEARCH_PATH, Scene, sample};

/// Serves the sample, and other things by their names; remembers the first line of each request.
struct Server {
    origin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, list.clone()));
            }
        });
        Self { origin, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.origin)
    }
}

async fn answer(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap().to_owned();
    asked.lock().unwrap().push(line.clone());
    let name = line.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
    let sent = match name {
        "v.mp4" => {
            let video = std::fs::read(sample()).unwrap();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                video.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            stream.write_all(&video).await
        }
        // As much as anybody takes, and no word of how much.
        "endless.mp4" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let piece = vec![7; 64 * 1024];
            loop {
                if let Err(error) = stream.write_all(&piece).await {
                    break Err(error);
                }
            }
        }
        "hanging.mp4" => return std::future::pending().await,
        "blocked.mp4" => {
            let text = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(text.as_bytes()).await
        }
        _ => {
            let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(text.as_bytes()).await
        }
    };
    // The other side may have gone.
    let _ = sent;
}

/// Where `scripts/setup --test` puts yt-dlp; a machine may have one of its own instead.
fn program() -> Option<PathBuf> {
    let path = workspace().join("target/tools/bin/yt-dlp");
    path.exists().then_some(path)
}

fn settings(origin: &str) -> YtDlpSettings {
    YtDlpSettings {
        program: program(),
        search_path: Some(SEARCH_PATH.into()),
        only_from: Some(origin.to_owned()),
        ..YtDlpSettings::default()
    }
}

fn request(scene: &Scene, url: String) -> FetchRequest {
    let scratch = scene.path("youtube");
    std::fs::create_dir_all(&scratch).unwrap();
    FetchRequest {
        url,
        bytes_max: u64::MAX,
        scratch,
    }
}

async fn refusal(fetcher: &YtDlp, request: &FetchRequest) -> ClipErrorCode {
    let error = fetcher.fetch(request, &()).await.unwrap_err();
    let message = error.to_string();
    assert!(!message.contains("127.0.0.1"), "{message}");
    error.code()
}

#[tokio::test]
async fn a_video_is_fetched_whole_into_a_file_of_a_fixed_name() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let fetcher = YtDlp::find(settings(&server.origin)).unwrap();
    let heard = Heard::default();
    let request = request(&scene, server.url("v.mp4"));
    let path = fetcher.fetch(&request, &heard).await.unwrap();
    assert_eq!(path, request.scratch.join("source.mp4"));
    assert_eq!(
        std::fs::read(path).unwrap(),
        std::fs::read(sample()).unwrap()
    );
    assert_eq!(heard.0.lock().unwrap().last(), Some(&(Stage::Probing, 100)));
}

#[tokio::test]
async fn what_is_too_large_is_refused_told_or_not() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let fetcher = YtDlp::find(settings(&server.origin)).unwrap();
    for name in ["v.mp4", "endless.mp4"] {
        let request = FetchRequest {
            bytes_max: 100_000,
            ..request(&scene, server.url(name))
        };
        let code = refusal(&fetcher, &request).await;
        assert_eq!(code, ClipErrorCode::YoutubeTooLarge, "{name}");
    }
}

#[tokio::test]
async fn servers_that_refuse_are_told_apart() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let fetcher = YtDlp::find(settings(&server.origin)).unwrap();
    for (name, code) in [
        ("absent.mp4", ClipErrorCode::YoutubeUnavailable),
        ("blocked.mp4", ClipErrorCode::YoutubeBlocked),
    ] {
        let request = request(&scene, server.url(name));
        assert_eq!(refusal(&fetcher, &request).await, code, "{name}");
    }
    let nobody = YtDlp::find(settings("http://127.0.0.1:1")).unwrap();
    let request = request(&scene, "http://127.0.0.1:1/v.mp4".into());
    assert_eq!(refusal(&nobody, &request).await, ClipErrorCode::YtdlpFailed);
}

#[tokio::test]
async fn an_address_outside_the_list_is_never_asked() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let mut settings = settings(&server.origin);
    settings.only_from = None;
    let fetcher = YtDlp::find(settings).unwrap();
    let request = request(&scene, server.url("v.mp4"));
    let code = refusal(&fetcher, &request).await;
    assert_eq!(code, ClipErrorCode::YoutubeUrlRefused);
    assert!(fetcher.check("https://youtu.be/dQw4w9WgXcQ").is_ok());
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn everything_goes_through_the_proxy_and_none_of_it_is_shown() {
    let (scene, server) = (Scene::new(), Server::start().await);
    // Nobody listens there: only the proxy can answer.
    let mut settings = settings("http://video.invalid");
    let proxy = server.origin.replace("http://", "http://planted:planted@");
    settings.proxy = Some(proxy);
    assert!(!format!("{settings:?}").contains("planted"));
    let fetcher = YtDlp::find(settings).unwrap();
    assert!(!format!("{fetcher:?}").contains("planted"));
    let request = request(&scene, "http://video.invalid/v.mp4".into());
    fetcher.fetch(&request, &()).await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    assert!(!asked.is_empty());
    for line in asked {
        assert!(line.contains(" http://video.invalid/v.mp4 "), "{line}");
    }
}

#[tokio::test]
async fn neither_settings_nor_plugins_of_the_machine_are_read() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let fetcher = YtDlp::find(settings(&server.origin)).unwrap();
    let request = request(&scene, server.url("v.mp4"));
    // The scratch directory is the child's home: what lies there would be found first.
    let mark = scene.path("mark");
    let plugin = request
        .scratch
        .join("yt-dlp/plugins/x/yt_dlp_plugins/extractor");
    std::fs::create_dir_all(&plugin).unwrap();
    let code = format!("open({:?}, 'w').close()\n", mark.to_str().unwrap());
    std::fs::write(plugin.join("mine.py"), code).unwrap();
    let config = format!("--exec 'touch {}'\n", mark.display());
    for name in ["yt-dlp.conf", "yt-dlp/config"] {
        std::fs::write(request.scratch.join(name), &config).unwrap();
    }
    fetcher.fetch(&request, &()).await.unwrap();
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let mut settings = settings(&server.origin);
    settings.time_max = Duration::from_millis(200);
    let fetcher = YtDlp::find(settings).unwrap();
    let request = request(&scene, server.url("hanging.mp4"));
    assert_eq!(
        refusal(&fetcher, &request).await,
        ClipErrorCode::YtdlpTimeLimit
    );
    assert_eq!(running_in(&request.scratch), 0);
}

#[tokio::test]
async fn a_dropped_fetch_leaves_no_process() {
    let (scene, server) = (Scene::new(), Server::start().await);
    let fetcher = YtDlp::find(settings(&server.origin)).unwrap();
    let request = request(&scene, server.url("hanging.mp4"));
    let task = {
        let (fetcher, request) = (fetcher.clone(), request.clone());
        tokio::spawn(async move { fetcher.fetch(&request, &()).await })
    };
    wait_until("it has asked", async || {
        !server.asked.lock().unwrap().is_empty()
    })
    .await;
    assert!(running_in(&request.scratch) > 0);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    fetcher.settled().await;
    assert_eq!(running_in(&request.scratch), 0);
}

#[test]
fn a_machine_without_yt_dlp_is_told_how_to_get_it() {
    let settings = YtDlpSettings {
        search_path: Some("/nonexistent".into()),
        ..YtDlpSettings::default()
    };
    let error = YtDlp::find(settings).unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::YtdlpMissing);
    assert!(error.is_retryable() && error.message().contains("pipx install yt-dlp"));
}

/// How many processes have their working directory there.
fn running_in(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path().join("cwd")).ok())
        .filter(|directory| *directory == folder)
        .count()
}
