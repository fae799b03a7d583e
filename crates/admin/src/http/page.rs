//! The console: three files, in the program.

use axum::{
    extract::OriginalUri,
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse},
};

/// What stands in the page for the path under which the router is nested: `/admin` and `/admin/` are both that of the
/// page, and what it loads is below it.
const BASE: &str = "{{base}}";

pub(super) async fn index(OriginalUri(uri): OriginalUri) -> impl IntoResponse {
    Html(include_str!("../../assets/index.html").replace(BASE, &base(uri.path())))
}

fn base(path: &str) -> String {
    // What has to be written otherwise in HTML is not in the path of any router; a browser sends it escaped.
    let plain =
        path.chars().filter(|c| c.is_ascii_alphanumeric() || "/-_.~%".contains(*c)).collect::<String>();
    // Two slashes would begin with the name of a host.
    format!("/{}/", plain.trim_matches('/')).replace("//", "/")
}

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../assets/admin.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../assets/admin.js"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_below_the_page() {
        for (path, is) in [
            ("/", "/"),
            ("", "/"),
            ("/admin", "/admin/"),
            ("/a/b/", "/a/b/"),
            ("//evil.example", "/evil.example/"),
            ("/\"><script>", "/script/"),
        ] {
            assert_eq!(base(path), is, "{path}");
        }
    }
}
