//! The OpenAPI document: what the routes say of themselves, and what all of them have in common.
//!
//! A handler documents its success; the table of routes says which codes it may refuse with, and [`describe`] writes
//! them down, with the envelope, the scope and the headers that every answer has.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, OpenApi as Document, Ref, RefOr, Response, Schema,
};
use utoipa::{OpenApi, ToSchema};

use crate::access::Scope;
use crate::envelope::ApiCode;
use crate::health::Check;

const FAILURE: &str = "Failure";
const ERROR_CODE: &str = "ErrorCode";
const SECURITY: &str = "key";

/// A success.
#[derive(Debug, Serialize, ToSchema)]
#[allow(
    dead_code,
    reason = "the shape of `ServiceResult::success`, for the document"
)]
pub(crate) struct Success<T> {
    /// Always true.
    #[schema(example = true)]
    ok: bool,
    data: T,
}

/// A service that cannot work.
#[derive(Debug, Serialize, ToSchema)]
#[allow(
    dead_code,
    reason = "the shape of the answer of `/readyz`, for the document"
)]
pub(crate) struct NotReady {
    /// Always false.
    #[schema(example = false)]
    ok: bool,
    data: NotReadyData,
    #[schema(example = "NOT_READY")]
    code: String,
    message: String,
}

/// What works and what does not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verdicts)]
#[allow(
    dead_code,
    reason = "the shape of the answer of `/readyz`, for the document"
)]
pub(crate) struct NotReadyData {
    checks: Vec<Check>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "clipbase",
        description = "Video clips from longer videos: store a source, create a job, follow it, fetch the clip.\n\nEvery answer of the API is `{ok, data}` or `{ok, code, message, request_id}`. Codes never change their meaning. Send `X-Request-Id` to name a request yourself.",
        license(name = "MIT", identifier = "MIT")
    ),
    tags(
        (name = "jobs", description = "Uploads, jobs, their logs and results."),
        (name = "bulk", description = "Many jobs at once."),
        (name = "links", description = "Signed links, where this service stores the objects itself."),
        (name = "service", description = "What the service says of itself.")
    )
)]
struct Base;

/// The document before any route is in it.
pub(crate) fn base() -> Document {
    let mut document = Base::openapi();
    let components = document.components.get_or_insert_with(Components::new);
    let codes = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Why, as a stable code. The list only ever grows."))
        .enum_values(Some(ApiCode::all().map(ApiCode::as_str)))
        .build();
    let text = |what: &str, example: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(what))
            .examples([json!(example)])
    };
    let failure = ObjectBuilder::new()
        .description(Some("A refusal."))
        .property(
            "ok",
            ObjectBuilder::new()
                .schema_type(Type::Boolean)
                .description(Some("Always false."))
                .examples([json!(false)]),
        )
        .property("code", Ref::from_schema_name(ERROR_CODE))
        .property("message", text("One sentence about it.", "job not found"))
        .property(
            "request_id",
            text(
                "The request's name, as in `X-Request-Id`.",
                "0198c0de-0000-7000-8000-000000000000",
            ),
        )
        .required("ok")
        .required("code")
        .required("message")
        .required("request_id")
        .build();
    for (name, schema) in [(ERROR_CODE, codes), (FAILURE, failure)] {
        components
            .schemas
            .insert(name.to_owned(), RefOr::T(Schema::Object(schema)));
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A key, where the service asks for one. Each route names the scope that it needs.",
        ))
        .build();
    components.add_security_scheme(SECURITY, SecurityScheme::Http(scheme));
    document
}

/// Adds to each operation what the table of routes knows of it.
pub(crate) fn describe(paths: &mut Paths, scope: Option<Scope>, has_keys: bool, codes: &[ApiCode]) {
    for item in paths.paths.values_mut() {
        for operation in operations(item) {
            if let Some(scope) = scope {
                let mut ways = vec![SecurityRequirement::new(SECURITY, [scope.as_str()])];
                if !has_keys {
                    // Nobody is asked: a key is one way, none is another.
                    ways.push(SecurityRequirement::default());
                }
                operation.security = Some(ways);
            }
            refuse_with(operation, codes);
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    response.headers.insert(
                        "X-Request-Id".to_owned(),
                        text_header("The request's name."),
                    );
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

fn refuse_with(operation: &mut Operation, codes: &[ApiCode]) {
    let mut by_status: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for code in codes {
        let list = by_status.entry(code.status().as_u16()).or_default();
        if !list.contains(&code.as_str()) {
            list.push(code.as_str());
        }
    }
    for (status, codes) in by_status {
        let responses = &mut operation.responses.responses;
        // A route that documents the status itself knows better: `/readyz`.
        responses
            .entry(status.to_string())
            .or_insert_with(|| RefOr::T(refusal(status, &codes)));
    }
}

fn refusal(status: u16, codes: &[&str]) -> Response {
    let list: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let example = json!({
        "ok": false,
        "code": codes.first(),
        "message": "one sentence that names what is wrong",
        "request_id": "0198c0de-0000-7000-8000-000000000000",
    });
    let content = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name(FAILURE))))
        .example(Some(example))
        .build();
    let mut response = Response::new(list.join(", "));
    response
        .content
        .insert("application/json".to_owned(), content.into());
    let header = match status {
        401 => Some(("WWW-Authenticate", "How to authenticate.")),
        416 => Some(("Content-Range", "The object's size: `bytes */1234`.")),
        429 | 503 => Some((
            "Retry-After",
            "After how many seconds to try again, where that is known.",
        )),
        _ => None,
    };
    if let Some((name, what)) = header {
        response.headers.insert(name.to_owned(), text_header(what));
    }
    response
}

fn text_header(what: &str) -> RefOr<Header> {
    let schema = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(what))
        .build()
        .into()
}
