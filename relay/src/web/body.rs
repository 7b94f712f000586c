//! The body of a request: read so that the connection can be used again, and thrown away.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::answer::{self, Answer};

/// Octets. Clients send none, or an empty form.
const MOST: usize = 4 * 1024;

/// For all of it to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads it to its end.
///
/// # Errors
///
/// The answer to one that is too long, too slow or broken.
pub(super) async fn discard(body: Incoming) -> Result<(), Answer> {
    let all = Limited::new(body, MOST).collect();
    match timeout(PATIENCE, all).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => {
            let text = "The request is too long.";
            Err(answer::reason(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Ok(Err(_)) => {
            let text = "The request is broken.";
            Err(answer::reason(StatusCode::BAD_REQUEST, text))
        }
        Err(_) => {
            let text = "The request took too long.";
            Err(answer::reason(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}
