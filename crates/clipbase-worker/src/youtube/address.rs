//! Which addresses are those of one YouTube video. Pure: nothing is looked up.

use url::Url;

use crate::clipper::{ClipError, ClipErrorCode};

/// The hosts, exactly: no other subdomain, user, port or spelling.
const HOSTS: &[&str] = &[
    "youtube.com",
    "www.youtube.com",
    "m.youtube.com",
    "music.youtube.com",
    "youtu.be",
];
/// First parts of a path that an id follows.
const FOLDERS: &[&str] = &["shorts", "live", "embed", "v"];
/// How long an id is.
const ID_BYTES: usize = 11;
/// How long an address may be: a job's column is as wide.
const ADDRESS_BYTES_MAX: usize = 1024;

/// Takes the video's id out of an address, and builds the address that is fetched.
pub(super) fn canonical(text: &str) -> Result<String, ClipError> {
    id(text)
        .map(|id| format!("https://www.youtube.com/watch?v={id}"))
        .ok_or_else(refused)
}

/// As `canonical`, for the one origin that a test serves: the address stays as it is.
pub(super) fn within(origin: &str, text: &str) -> Result<String, ClipError> {
    let path = text
        .strip_prefix(origin)
        .filter(|rest| rest.starts_with('/') && rest.bytes().all(|byte| byte.is_ascii_graphic()));
    path.map(|_| text.to_owned()).ok_or_else(refused)
}

fn id(text: &str) -> Option<String> {
    let plain = text.len() <= ADDRESS_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let rest = text.strip_prefix("https://").filter(|_| plain)?;
    let host = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    if !HOSTS.contains(&host.as_str()) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let parts: Vec<&str> = url
        .path_segments()?
        .filter(|part| !part.is_empty())
        .collect();
    let id = match (host.as_str(), parts.as_slice()) {
        ("youtu.be", [id]) => (*id).to_owned(),
        ("youtu.be", _) => return None,
        (_, ["watch"]) => {
            let mut ids = url.query_pairs().filter(|(name, _)| name == "v");
            let id = ids.next()?.1.into_owned();
            ids.next().is_none().then_some(id)?
        }
        (_, [folder, id]) if FOLDERS.contains(folder) => (*id).to_owned(),
        _ => return None,
    };
    let fits = id.len() == ID_BYTES
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    fits.then_some(id)
}

fn refused() -> ClipError {
    ClipError::new(
        ClipErrorCode::YoutubeUrlRefused,
        "the address is not that of one YouTube video; write https://www.youtube.com/watch?v=ID",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANONICAL: &str = "https://www.youtube.com/watch?v=dQw4w9WgXc-";

    #[test]
    fn every_way_to_write_a_video_becomes_one() {
        for text in [
            "https://www.youtube.com/watch?v=dQw4w9WgXc-",
            "https://youtube.com/watch?v=dQw4w9WgXc-&list=PLx&index=3",
            "https://m.youtube.com/watch?app=desktop&v=dQw4w9WgXc-#t=3",
            "https://music.youtube.com/watch?v=dQw4w9WgXc-",
            "https://WWW.YouTube.com/watch?v=dQw4w9WgXc-",
            "https://youtu.be/dQw4w9WgXc-?si=abc",
            "https://www.youtube.com/shorts/dQw4w9WgXc-",
            "https://www.youtube.com/live/dQw4w9WgXc-/",
            "https://www.youtube.com/embed/dQw4w9WgXc-",
        ] {
            assert_eq!(canonical(text).unwrap(), CANONICAL, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "dQw4w9WgXc-",
            "http://www.youtube.com/watch?v=dQw4w9WgXc-",
            "https://user@www.youtube.com/watch?v=dQw4w9WgXc-",
            "https://www.youtube.com:443/watch?v=dQw4w9WgXc-",
            "https://www.youtube.com./watch?v=dQw4w9WgXc-",
            "https://www.youtube.com@169.254.169.254/watch?v=dQw4w9WgXc-",
            "https://169.254.169.254/watch?v=dQw4w9WgXc-",
            "https://localhost/watch?v=dQw4w9WgXc-",
            "https://evil-youtube.com/watch?v=dQw4w9WgXc-",
            "https://youtube.com.evil.example/watch?v=dQw4w9WgXc-",
            "https://www.youtube.com\\@evil.example/watch?v=dQw4w9WgXc-",
            "https://gaming.youtube.com/watch?v=dQw4w9WgXc-",
            "https://www.youtube.com/watch",
            "https://www.youtube.com/watch?v=short",
            "https://www.youtube.com/watch?v=dQw4w9WgXc-&v=aaaaaaaaaaa",
            "https://www.youtube.com/watch?v=dQw4w9WgXc%27",
            "https://www.youtube.com/playlist?list=PLdQw4w9WgXc-",
            "https://www.youtube.com/@channel/live",
            "https://www.youtube.com/redirect?q=dQw4w9WgXc-",
            "https://youtu.be/dQw4w9WgXc-/more",
            "https://www.youtube.com/watch?v=dQw4w9WgXc- --exec",
            "--exec=https://www.youtube.com/watch?v=dQw4w9WgXc-",
        ] {
            let error = canonical(text).unwrap_err();
            assert_eq!(error.code(), ClipErrorCode::YoutubeUrlRefused, "{text}");
        }
        let long = format!("{CANONICAL}&x={}", "x".repeat(ADDRESS_BYTES_MAX));
        assert!(canonical(&long).is_err());
    }

    #[test]
    fn a_tests_origin_is_exact() {
        let origin = "http://127.0.0.1:9000";
        assert!(within(origin, "http://127.0.0.1:9000/a.mp4").is_ok());
        for text in [
            "http://127.0.0.1:90001/a",
            "http://127.0.0.1:9000@x/a",
            CANONICAL,
        ] {
            assert!(within(origin, text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_canonical(text in "(https://)?(www\\.|m\\.)?(youtube\\.com|youtu\\.be|x)?[/?=&v-z:@#%.]{0,20}[a-zA-Z0-9_-]{0,12}.{0,4}") {
            if let Ok(url) = canonical(&text) {
                prop_assert_eq!(url.len(), CANONICAL.len());
                prop_assert!(url.starts_with("https://www.youtube.com/watch?v="));
            }
        }
    }
}
