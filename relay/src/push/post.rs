//! One POST to the push service.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chatmail_core::config::Config;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::time::timeout;

use super::connection::{Broken, Connections, HTTP_1_CONNECTIONS, Lease, Place};
use super::retry_after;

/// Requests on their way at one time, on one connection. A service that takes 200 ms for each gets
/// 1,600 notifications per second; more would wait in its queue instead of in ours. Each needs some
/// kilobytes.
const IN_FLIGHT: usize = 320;

/// Of the body of an answer; nothing in it matters.
const BODY_MAX: usize = 4096;

/// What the push service said to one token.
#[derive(Debug)]
pub(super) enum Answer {
    /// 200: the notification is its business now.
    Taken,
    /// 410: no such device any more.
    Gone,
    /// Another status: this notification is not taken, others may be.
    NotTaken(StatusCode, Option<Duration>),
    /// Nobody answered, or the service is unwell (429, 5xx).
    Unwell(String, Option<Duration>),
}

/// The push service, shared by all attempts.
#[derive(Debug, Clone)]
pub(super) struct PushService {
    connections: Arc<Connections>,
    request: Arc<(Uri, HeaderMap)>,
    timeout: Duration,
}

impl PushService {
    /// The service at `push_url`. The error names the key of `chatmail.ini` that is wrong.
    pub(super) fn new(config: &Config) -> Result<PushService, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("push_url = {}: {why}", config.push_url);
        // A fragment is the reader's own (RFC 9110, section 4.2.5).
        let url = config.push_url.split('#').next().unwrap_or_default();
        let url: Uri = url.parse().map_err(|why| wrong(&why))?;
        let authority = url.authority().ok_or_else(|| wrong(&"no host"))?;
        let host = authority.host().trim_matches(['[', ']']);
        let is_tls = url.scheme_str() == Some("https");
        let tls = match is_tls {
            false => None,
            true => {
                let name = ServerName::try_from(host.to_owned()).map_err(|why| wrong(&why))?;
                Some((Arc::new(tls(config)?), name))
            }
        };
        let mut headers = HeaderMap::new();
        let named = HeaderValue::from_str(authority.as_str()).map_err(|why| wrong(&why))?;
        headers.insert(HOST, named);
        let agent = concat!("chatmail/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let place = Place {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(match is_tls {
                true => 443,
                false => 80,
            }),
            tls,
        };
        Ok(PushService {
            connections: Arc::new(Connections::new(place)),
            request: Arc::new((url, headers)),
            timeout: config.push_timeout,
        })
    }

    /// How many requests may be on their way. Few, until the service says that it speaks HTTP/2.
    pub(super) fn width(&self) -> usize {
        match self.connections.version() {
            Some(Version::HTTP_2) => IN_FLIGHT,
            _ => HTTP_1_CONNECTIONS,
        }
    }

    /// Nobody answers: do not trust the connections there are.
    pub(super) fn start_anew(&self) {
        self.connections.start_anew();
    }

    /// Sends one token as the body and waits for the answer, `push_timeout` at most.
    pub(super) async fn post(&self, token: String) -> Answer {
        let token = Bytes::from(token);
        match timeout(self.timeout, self.exchange(token)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::Unwell(why.to_string(), None),
            Err(_late) => Answer::Unwell(format!("no answer in {:?}", self.timeout), None),
        }
    }

    async fn exchange(&self, token: Bytes) -> Result<Answer, Broken> {
        let mut lease = self.connections.lease().await?;
        let response = match lease.send(self.request(token.clone(), &lease)).await {
            Ok(response) => response,
            // The connection has ended, perhaps long ago. The push service does not mind a
            // notification that comes twice.
            Err(_ended) => {
                drop(lease);
                // The connection's own task is to notice, too.
                tokio::task::yield_now().await;
                lease = self.connections.lease().await?;
                lease.send(self.request(token, &lease)).await?
            }
        };
        let answer = answer(&response);
        if read(response).await {
            lease.settle().await;
            self.connections.give_back(lease);
        }
        Ok(answer)
    }

    fn request(&self, token: Bytes, lease: &Lease) -> Request<Full<Bytes>> {
        let (url, headers) = &*self.request;
        let mut request = Request::new(Full::new(token));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers.clone();
        if matches!(lease, Lease::Shared(_)) {
            // Its name is :authority (RFC 9113, section 8.3.1).
            request.headers_mut().remove(HOST);
        }
        request
    }
}

fn answer(response: &Response<Incoming>) -> Answer {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|value| retry_after::parse(value, SystemTime::now()));
    match status {
        StatusCode::OK => Answer::Taken,
        StatusCode::GONE => Answer::Gone,
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Answer::Unwell(status.to_string(), retry_after)
        }
        _ => Answer::NotTaken(status, retry_after),
    }
}

/// Reads the body to its end, so that an HTTP/1.1 connection can be used again; a long one is not worth
/// it.
async fn read(response: Response<Incoming>) -> bool {
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > BODY_MAX {
            return false;
        }
    }
    true
}

/// Trusts what this host trusts, and `push_ca_file`.
fn tls(config: &Config) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if let Some(file) = &config.push_ca_file {
        let wrong =
            |why: &dyn std::fmt::Display| format!("push_ca_file = {}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|why| wrong(&why))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|why| wrong(&why))?;
            roots.add(certificate).map_err(|why| wrong(&why))?;
            count += 1;
        }
        if count == 0 {
            return Err(wrong(&"no certificate in it"));
        }
    }
    if roots.is_empty() {
        return Err("TLS: this host trusts no certificate authority; set push_ca_file".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| format!("TLS: {why}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}
