//! Which request is which: paths and methods to calls.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use super::tus::Metadata;

/// The path below which the server answers.
pub(super) const BASE: &str = "/storage/v1";

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// `POST` or `PUT /object/{bucket}/{path}`
    Upload,
    /// `GET` or `HEAD` of an object with a key, or of one in a public bucket
    Download,
    /// `GET` or `HEAD /object/info/…`
    Info,
    /// `POST /object/sign/{bucket}/{path}`
    Sign,
    /// `POST /object/sign/{bucket}`
    SignMany,
    /// `POST /object/upload/sign/…`
    SignUpload,
    /// `PUT /object/upload/sign/…?token=`
    UseUploadLink,
    /// `GET` or `HEAD /object/sign/…?token=`
    FetchLink,
    /// `POST /object/list/{bucket}` or `/object/list-v2/{bucket}`
    List,
    /// `POST /object/copy`
    Copy,
    /// `POST /object/move`
    Move,
    /// `DELETE /object/{bucket}`
    DeleteMany,
    /// `DELETE /object/{bucket}/{path}`
    DeleteOne,
    /// `POST /bucket`
    CreateBucket,
    /// `GET /bucket/{id}`
    GetBucket,
    /// `GET /bucket`
    ListBuckets,
    /// `PUT /bucket/{id}`
    UpdateBucket,
    /// `POST /bucket/{id}/empty`
    EmptyBucket,
    /// `DELETE /bucket/{id}`
    DeleteBucket,
    /// `POST /upload/resumable`
    TusCreate,
    /// `PATCH /upload/resumable/{id}`
    TusPatch,
    /// `HEAD /upload/resumable/{id}`
    TusHead,
    /// `DELETE /upload/resumable/{id}`
    TusDelete,
    /// `OPTIONS /upload/resumable`
    TusOptions,
    /// `GET /status`, `/health` or `/version`
    Health,
    /// Anything else.
    Unknown,
}

impl Call {
    /// Tells whether the request's body is an object's content: the server reads it as a stream, and leaves it where
    /// it lies when it says no.
    pub(super) const fn streams(self) -> bool {
        matches!(
            self,
            Self::Upload | Self::UseUploadLink | Self::TusCreate | Self::TusPatch
        )
    }

    /// Tells whether it belongs to the resumable endpoint.
    pub(super) const fn is_tus(self) -> bool {
        matches!(
            self,
            Self::TusCreate | Self::TusPatch | Self::TusHead | Self::TusDelete | Self::TusOptions
        )
    }
}

/// Which of a call's forms was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Plain,
    /// `/object/public/…`
    Public,
    /// `/object/list-v2/…`
    V2,
    /// `/upload/resumable/sign`
    Signed,
}

/// A request's call and what it is about.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) call: Call,
    pub(super) form: Form,
    /// Empty where the call names none.
    pub(super) bucket: String,
    /// The path in the bucket, or the upload's id; empty where the call names none.
    pub(super) path: String,
    /// The upload's id, of a resumable upload.
    pub(super) upload: String,
    /// What stands in the address after the call's name, as it was sent.
    pub(super) raw: String,
}

impl Route {
    fn of(call: Call) -> Self {
        Self {
            call,
            form: Form::Plain,
            bucket: String::new(),
            path: String::new(),
            upload: String::new(),
            raw: String::new(),
        }
    }

    /// Finds out what a request is. A path that is not text is refused by the web framework.
    pub(super) fn parse(parts: &Parts) -> (Self, Option<Refusal>) {
        let full = parts.uri.path();
        let unknown = || Refusal::unknown_route(parts.method.as_str(), full);
        let Some(path) = full.strip_prefix(BASE) else {
            return (Self::of(Call::Unknown), Some(unknown()));
        };
        let mut route = if let Some(rest) = path.strip_prefix("/bucket") {
            Self::bucket(&parts.method, rest)
        } else if let Some(rest) = path.strip_prefix("/object/") {
            Self::object(&parts.method, rest)
        } else if let Some(rest) = path.strip_prefix("/upload/resumable") {
            Self::resumable(parts, rest)
        } else if matches!(path, "/status" | "/health" | "/version") && parts.method == Method::GET
        {
            Self::of(Call::Health)
        } else {
            Self::of(Call::Unknown)
        };
        if route.call == Call::Unknown {
            return (route, Some(unknown()));
        }
        match (decode(&route.bucket), decode(&route.path)) {
            (Some(bucket), Some(path)) => {
                route.bucket = bucket;
                route.path = path;
                (route, None)
            }
            _ => (route, Some(Refusal::bad_url(full))),
        }
    }

    fn bucket(method: &Method, rest: &str) -> Self {
        let mut segments = rest.trim_end_matches('/').split('/').skip(1);
        let (id, tail) = (segments.next().unwrap_or_default(), segments.next());
        let call = match (method, id, tail) {
            _ if !rest.is_empty() && !rest.starts_with('/') => Call::Unknown,
            (&Method::GET, "", None) => Call::ListBuckets,
            (&Method::POST, "", None) => Call::CreateBucket,
            (_, "", _) => Call::Unknown,
            (&Method::GET, _, None) => Call::GetBucket,
            (&Method::PUT, _, None) => Call::UpdateBucket,
            (&Method::DELETE, _, None) => Call::DeleteBucket,
            (&Method::POST, _, Some("empty")) => Call::EmptyBucket,
            _ => Call::Unknown,
        };
        Self {
            bucket: id.to_owned(),
            ..Self::of(call)
        }
    }

    fn object(method: &Method, rest: &str) -> Self {
        let get = matches!(*method, Method::GET | Method::HEAD);
        let post = *method == Method::POST;
        let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
        let (call, form, raw) = match head {
            "list" if post => (Call::List, Form::Plain, tail),
            "list-v2" if post => (Call::List, Form::V2, tail),
            "copy" if post && tail.is_empty() => (Call::Copy, Form::Plain, tail),
            "move" if post && tail.is_empty() => (Call::Move, Form::Plain, tail),
            "sign" if post && !tail.contains('/') => (Call::SignMany, Form::Plain, tail),
            "sign" if post => (Call::Sign, Form::Plain, tail),
            "sign" if get => (Call::FetchLink, Form::Plain, tail),
            "info" if get => {
                let tail = tail.strip_prefix("authenticated/").unwrap_or(tail);
                (Call::Info, Form::Plain, tail)
            }
            "authenticated" if get => (Call::Download, Form::Plain, tail),
            "public" if get => (Call::Download, Form::Public, tail),
            "upload" if tail.starts_with("sign/") => {
                let call = match *method {
                    Method::POST => Call::SignUpload,
                    Method::PUT => Call::UseUploadLink,
                    _ => Call::Unknown,
                };
                (
                    call,
                    Form::Plain,
                    tail.strip_prefix("sign/").unwrap_or(tail),
                )
            }
            _ => {
                let call = match (method, rest.contains('/')) {
                    (&Method::POST | &Method::PUT, true) => Call::Upload,
                    (&Method::GET | &Method::HEAD, true) => Call::Download,
                    (&Method::DELETE, true) => Call::DeleteOne,
                    (&Method::DELETE, false) => Call::DeleteMany,
                    _ => Call::Unknown,
                };
                (call, Form::Plain, rest)
            }
        };
        let (bucket, path) = raw.split_once('/').unwrap_or((raw, ""));
        let mut route = Self {
            form,
            bucket: bucket.to_owned(),
            path: path.to_owned(),
            raw: raw.to_owned(),
            ..Self::of(call)
        };
        let whole = matches!(
            call,
            Call::Upload
                | Call::Download
                | Call::Info
                | Call::Sign
                | Call::FetchLink
                | Call::SignUpload
                | Call::UseUploadLink
                | Call::DeleteOne
        );
        let needs_bucket = !matches!(call, Call::Copy | Call::Move);
        if (whole && path.is_empty()) || (needs_bucket && bucket.is_empty()) {
            route.call = Call::Unknown;
        }
        route
    }

    fn resumable(parts: &Parts, rest: &str) -> Self {
        let (form, rest) = match rest.strip_prefix("/sign") {
            Some(tail) if tail.is_empty() || tail.starts_with('/') => (Form::Signed, tail),
            _ => (Form::Plain, rest),
        };
        let upload = rest.trim_matches('/');
        let call = match (&parts.method, upload.is_empty()) {
            _ if !rest.is_empty() && !rest.starts_with('/') => Call::Unknown,
            (&Method::POST, true) => Call::TusCreate,
            (&Method::PATCH, false) => Call::TusPatch,
            (&Method::HEAD, false) => Call::TusHead,
            (&Method::DELETE, false) => Call::TusDelete,
            (&Method::OPTIONS, _) => Call::TusOptions,
            _ => Call::Unknown,
        };
        let mut route = Self {
            form,
            upload: upload.to_owned(),
            ..Self::of(call)
        };
        let named = if call == Call::TusCreate {
            Metadata::of(&parts.headers).map(|metadata| (metadata.bucket, metadata.object))
        } else {
            upload_target(upload)
        };
        if let Some((bucket, object)) = named {
            // They were never part of an address: a sign that looks like an escape is one of theirs.
            route.bucket = bucket.replace('%', "%25");
            route.path = object.replace('%', "%25");
        }
        route
    }
}

/// The id of an upload of the given version: `bucket/path/version`, so that it outlives the server.
pub(super) fn upload_id(bucket: &str, path: &str, version: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{bucket}/{path}/{version}"))
}

fn upload_target(id: &str) -> Option<(String, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
    let (bucket, rest) = text.split_once('/')?;
    let (path, _version) = rest.rsplit_once('/')?;
    Some((bucket.to_owned(), path.to_owned()))
}

fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Returns a value of the address's query, decoded.
pub(super) fn query(parts: &Parts, name: &str) -> Option<String> {
    parts.uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| {
            percent_decode_str(&value.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        })
    })
}

/// Returns a header's value, where it is text.
pub(super) fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}
