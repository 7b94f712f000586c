//! Connections: accepting them, moving their octets, ending them in order.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatmail_sockets::{Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::conversation::{Conversation, Flow};
use crate::policy::Policy;
use crate::session::Route;

/// How long open messages may take to come to their end after a shutdown was asked for. Postfix
/// hands over a message within a second; a client that dawdles between MAIL and DATA is told to
/// try again by Postfix.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How long a read may be that is worked on in one go. Postfix's body chunks fit. Postfix writes
/// 4 KiB at a time to Unix sockets; reads gather 20 to 50 KiB of that on average, and waiting for
/// more made large messages more expensive, not less. What is left is the price of a filter on such
/// a socket: one that throws away what it reads costs Postfix and itself nearly as much.
const SCRATCH: usize = 64 * 1024;

/// Pause after a connection could not be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    /// One buffer per worker thread instead of one per connection: what is read is worked off
    /// before the thread turns to another connection.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// The sockets of the daemon.
#[derive(Debug)]
pub struct Listeners {
    /// For mail of users who are logged in.
    pub outgoing: Listener,
    /// For mail of other hosts.
    pub incoming: Listener,
    /// For mail that the MTA itself writes: bounces. It is only signed.
    pub internal: Option<Listener>,
}

impl Listeners {
    async fn accept(&self) -> (Route, io::Result<Stream>) {
        let internal = async {
            match &self.internal {
                Some(listener) => listener.accept().await,
                None => pending().await,
            }
        };
        tokio::select! {
            accepted = self.outgoing.accept() => (Route::Outgoing, accepted),
            accepted = self.incoming.accept() => (Route::Incoming, accepted),
            accepted = internal => (Route::Internal, accepted),
        }
    }
}

/// Filters mail until `shutdown` is ready. Then no new connection is accepted, idle ones are
/// closed, and open messages come to their end, for [`SHUTDOWN_GRACE`] at most.
pub async fn run(listeners: Listeners, policy: Arc<Policy>, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (route, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listeners.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(stream) => {
                let conversation = Conversation::new(route, Arc::clone(&policy));
                let stopping = stopping.clone();
                let connected = policy.metrics().connected(route.name());
                connections.spawn(async move {
                    let _connected = connected;
                    if let Err(error) = serve(stream, conversation, stopping).await {
                        debug!(%error, "connection lost");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listeners);
    stop.send_replace(true);
    let ended = timeout(SHUTDOWN_GRACE, async {
        while connections.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        warn!(
            connections = connections.len(),
            "open messages are cut off; clients will try again"
        );
        connections.shutdown().await;
    }
    info!("stopped");
}

/// Serves one connection until it ends, fails, or is idle while the daemon stops.
async fn serve<S>(
    mut stream: S,
    mut conversation: Conversation,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let stop_now = async {
            // An error means that the daemon is gone; then there is nothing to wait for either.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let received = tokio::select! {
            biased;
            received = poll_fn(|cx| receive(&mut stream, &mut conversation, cx)) => received?,
            () = stop_now, if !conversation.is_open() => return Ok(()),
        };
        if received == Flow::Deciding {
            // Boxed: look-ups are large, and most connections never wait for one.
            Box::pin(conversation.decide()).await;
        }
        if !conversation.answers().is_empty() {
            stream.write_all(conversation.answers()).await?;
            conversation.sent();
        }
        if received == Flow::Closed {
            return Ok(());
        }
    }
}

/// Reads once and works off what came. Answers are left with the conversation.
fn receive<S>(
    stream: &mut S,
    conversation: &mut Conversation,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Flow>>
where
    S: AsyncRead + Unpin,
{
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(Flow::Closed));
        }
        let flow = conversation
            .receive(buffer.filled())
            .unwrap_or_else(|error| {
                warn!(%error, "connection closed: this is not the milter protocol");
                Flow::Closed
            });
        Poll::Ready(Ok(flow))
    })
}
