//! The document for people: one page of HTML, made once from the OpenAPI document. It loads nothing, runs nothing,
//! and its policy lets a browser do neither.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}\
section{border:1px solid #d0d7de;border-radius:6px;padding:.5rem 1rem;margin:1rem 0}\
code,pre{font:13px/1.45 ui-monospace,monospace;background:#f6f8fa;border-radius:4px}code{padding:.1em .3em}\
pre{padding:.75rem;overflow-x:auto}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-top:1px solid #eaeef2}\
.m{font-weight:700;text-transform:uppercase}.s{color:#57606a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}code,pre{background:#161b22}\
section,h2,td,th{border-color:#30363d}.s{color:#8b949e}}";

/// A page and the policy that goes with it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) policy: String,
}

/// Renders the document.
pub(crate) fn render(document: &Value) -> Page {
    let hash = BASE64.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let info = at(document, "/info");
    let title = escape(text(at(info, "/title")));
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} API</title>\
<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
<h1>{title} <span class=\"s\">{}</span></h1>",
        escape(text(at(info, "/version")))
    );
    paragraphs(&mut html, text(at(info, "/description")));
    html.push_str("<p>For machines: <a href=\"/openapi.json\">openapi.json</a></p>");
    for tag in list(at(document, "/tags")) {
        let name = text(at(tag, "/name"));
        html.push_str(&format!("<h2>{}</h2>", escape(name)));
        paragraphs(&mut html, text(at(tag, "/description")));
        for (path, item) in entries(at(document, "/paths")) {
            for (method, operation) in entries(item) {
                if list(at(operation, "/tags"))
                    .iter()
                    .any(|tag| text(tag) == name)
                {
                    render_operation(&mut html, method, path, operation);
                }
            }
        }
    }
    html.push_str("<h2>Schemas</h2>");
    for (name, schema) in entries(at(document, "/components/schemas")) {
        let shape = serde_json::to_string_pretty(schema).unwrap_or_default();
        html.push_str(&format!(
            "<details id=\"{0}\"><summary><code>{0}</code></summary><pre>{1}</pre></details>",
            escape(name),
            escape(&shape)
        ));
    }
    html.push_str("</body></html>");
    Page { html, policy }
}

fn render_operation(html: &mut String, method: &str, path: &str, operation: &Value) {
    html.push_str(&format!(
        "<section><h3><span class=\"m\">{}</span> <code>{}</code></h3>",
        escape(method),
        escape(path)
    ));
    paragraphs(html, text(at(operation, "/summary")));
    paragraphs(html, text(at(operation, "/description")));
    for requirement in list(at(operation, "/security")) {
        for (_, scopes) in entries(requirement) {
            let scopes: Vec<&str> = list(scopes).iter().map(text).collect();
            html.push_str(&format!(
                "<p class=\"s\">Needs the scope <code>{}</code>.</p>",
                escape(&scopes.join(", "))
            ));
        }
    }
    let parameters = list(at(operation, "/parameters"));
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>parameter</th><th>in</th><th></th></tr>");
        for parameter in parameters {
            html.push_str(&format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escape(text(at(parameter, "/name"))),
                escape(text(at(parameter, "/in"))),
                inline(text(at(parameter, "/description")))
            ));
        }
        html.push_str("</table>");
    }
    for (kind, content) in entries(at(operation, "/requestBody/content")) {
        html.push_str(&format!("<p>Body: {}</p>", shape(kind, content)));
    }
    html.push_str("<table><tr><th>answer</th><th></th><th>body</th></tr>");
    for (status, response) in entries(at(operation, "/responses")) {
        let bodies: Vec<String> = entries(at(response, "/content"))
            .map(|(kind, content)| shape(kind, content))
            .collect();
        html.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(status),
            inline(text(at(response, "/description"))),
            bodies.join("<br>")
        ));
    }
    html.push_str("</table></section>");
}

/// The schema of a body, with a link to where it is described.
fn shape(kind: &str, content: &Value) -> String {
    let reference = text(at(content, "/schema/$ref"));
    match reference.rsplit_once('/') {
        Some((_, name)) => format!("<a href=\"#{0}\"><code>{0}</code></a>", escape(name)),
        None => format!("<code>{}</code>", escape(kind)),
    }
}

fn paragraphs(html: &mut String, text: &str) {
    for paragraph in text.split("\n\n").filter(|text| !text.is_empty()) {
        html.push_str(&format!("<p>{}</p>", inline(paragraph)));
    }
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        // Every second part stands between two marks.
        let written = if index % 2 == 1 {
            write!(html, "<code>{part}</code>")
        } else {
            write!(html, "{part}")
        };
        // Writing to a string does not fail.
        written.ok();
    }
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// What lies at a JSON pointer, or null.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_of_the_document_becomes_markup() {
        let document = json!({
            "info": {"title": "<b>", "description": "a & b `<i>`"},
            "tags": [{"name": "t"}],
            "paths": {"/<x>": {"get": {"tags": ["t"], "summary": "\"<s>\""}}},
        });
        let page = render(&document);
        for markup in ["<b>", "<i>", "<x>", "<s>"] {
            assert!(!page.html.contains(markup), "{markup}");
        }
        assert!(page.html.contains("a &amp; b <code>&lt;i&gt;</code>"));
    }

    #[test]
    fn the_policy_allows_the_one_style_and_nothing_else() {
        let page = render(&json!({}));
        let (_, rest) = page.html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = BASE64.encode(Sha256::digest(style));
        assert!(page.policy.contains(&format!("style-src 'sha256-{hash}'")));
        assert!(page.policy.starts_with("default-src 'none'") && !page.policy.contains("unsafe"));
        assert!(!page.html.contains("<script") && !page.html.contains("style="));
    }
}
