//! Real children: a shell that would never end, and streams that would fill the memory.

use super::*;

fn shell(dying: &Dying) -> Tool {
    Tool {
        name: "sh",
        path: "/bin/sh".into(),
        search_path: Some("/usr/bin:/bin".into()),
        dying: dying.clone(),
    }
}

fn is_alive(id: i32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(id).unwrap()).is_ok()
}

/// A shell with a child of its own, which tells both ids and would never end.
const ENDLESS: &str = "sleep 3600 & echo $$ $!; wait";

#[tokio::test]
async fn a_dropped_child_takes_its_own_children_along() {
    let dying = Dying::default();
    let tool = shell(&dying);
    let args = ["-c".into(), ENDLESS.into()];
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let run = Run {
        tool: &tool,
        args: &args,
        directory: None,
        variables: &[],
        time_max: Duration::from_secs(600),
    };
    let mut work = Box::pin(run.lines(move |line| {
        let ids: Vec<i32> = line.split(' ').map(|id| id.parse().unwrap()).collect();
        tell.send(ids).unwrap();
    }));
    let ids = tokio::select! {
        _ = &mut work => unreachable!("it never ends"),
        ids = told.recv() => ids.unwrap(),
    };
    assert!(ids.iter().all(|id| is_alive(*id)));
    drop(work);
    dying.settled().await;
    assert!(!is_alive(ids[0]));
}

#[tokio::test]
async fn a_child_that_takes_too_long_is_gone_when_that_is_told() {
    let tool = shell(&Dying::default());
    let args = ["-c".into(), ENDLESS.into()];
    let mut id = 0;
    let run = Run {
        tool: &tool,
        args: &args,
        directory: None,
        variables: &[],
        time_max: Duration::from_millis(200),
    };
    let trouble = run
        .lines(|line| id = line.split(' ').next().unwrap().parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(trouble, Trouble::TooLong("sh", Duration::from_millis(200)));
    assert!(id > 0 && !is_alive(id));
}

#[test]
fn a_file_that_cannot_be_run_is_not_a_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tool");
    std::fs::write(&path, "text").unwrap();
    let search = directory.path().as_os_str();
    assert!(find("tool", None, None, Some(search)).is_none());
    assert!(find("tool", Some(&path), None, None).is_none());
    assert!(find("tool", Some(directory.path()), None, None).is_none());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(find("tool", None, None, Some(search)).unwrap().path, path);
}

#[tokio::test]
async fn tail_keeps_the_end() {
    let mut text = vec![b'a'; 100_000];
    text.extend(b"the reason");
    let kept = tail(Some(text.as_slice())).await;
    assert_eq!(kept.len(), STDERR_BYTES_MAX);
    assert!(kept.ends_with(b"the reason"));
}

#[tokio::test]
async fn a_line_without_end_is_cut() {
    let text = vec![b'a'; 100_000];
    let mut lengths = Vec::new();
    each_line(Some(text.as_slice()), &mut |line: &str| {
        lengths.push(line.len());
    })
    .await;
    assert_eq!(lengths, [LINE_BYTES_MAX]);
}
