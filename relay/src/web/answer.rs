//! Answers: JSON, with `reason` where Delta Chat is to show why not.
//!
//! Delta Chat's core takes any 2xx as an account, shows the `reason` of anything else to its user as it is,
//! and follows no redirect (`login_param_from_account_qr` in `src/qr.rs`).

use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a client gets.
pub(super) type Answer = Response<String>;

/// JSON that nobody may keep: it can be a password.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    text(status, JSON, value.to_string())
}

/// Text of this type, not to be kept either.
pub(super) fn text(status: StatusCode, kind: HeaderValue, text: String) -> Answer {
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, kind);
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Why not, for the user.
pub(super) fn reason(status: StatusCode, reason: &str) -> Answer {
    json(status, &json!({ "reason": reason }))
}

/// The same, with the seconds after which to ask again.
pub(super) fn later(status: StatusCode, text: &str, seconds: u32) -> Answer {
    with(reason(status, text), RETRY_AFTER, &seconds.to_string())
}

/// 405 with the methods that are fine.
pub(super) fn not_allowed(methods: &'static str) -> Answer {
    let answer = reason(
        StatusCode::METHOD_NOT_ALLOWED,
        "There is no such method here.",
    );
    with(answer, ALLOW, methods)
}

/// 301.
pub(super) fn moved(location: &str) -> Answer {
    let answer = reason(
        StatusCode::MOVED_PERMANENTLY,
        "Open this link with Delta Chat.",
    );
    with(answer, LOCATION, location)
}

fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    // What is no field value is left out: our own texts all are.
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}
