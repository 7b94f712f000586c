//! The daemon in the process of the test.

use std::sync::Arc;
use std::thread::JoinHandle;

use chatmail_core::config::Config;
use chatmail_milter::{Access, Endpoint, Listener, Listeners, Policy, run};
use tokio::sync::oneshot;

use super::{Mta, Relay, socket};

/// The daemon in this process.
pub struct Filter {
    pub relay: Relay,
    pub policy: Arc<Policy>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Filter {
    pub fn start(relay: Relay) -> Filter {
        let policy = Policy::new(&Config::load(&relay.config()).unwrap()).unwrap();
        let policy = Arc::new(policy);
        let endpoints =
            ["outgoing", "incoming", "internal"].map(|d| Endpoint::Unix(socket(&relay, d)));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shared = Arc::clone(&policy);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let [outgoing, incoming, internal] =
                    endpoints.map(|e| Listener::bind(&e, ACCESS).unwrap());
                ready.send(()).unwrap();
                let stopped = async {
                    let _ = stopped.await;
                };
                let listeners = Listeners {
                    outgoing,
                    incoming,
                    internal: Some(internal),
                };
                run(listeners, shared, stopped).await;
            });
        });
        is_ready.recv().unwrap();
        Filter {
            relay,
            policy,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn outgoing(&self) -> Mta {
        Mta::connect(&socket(&self.relay, "outgoing"))
    }

    pub fn incoming(&self) -> Mta {
        Mta::connect(&socket(&self.relay, "incoming"))
    }

    pub fn internal(&self) -> Mta {
        Mta::connect(&socket(&self.relay, "internal"))
    }

    pub fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    pub fn wait_for_the_end(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.stop();
        self.wait_for_the_end();
    }
}

pub const ACCESS: Access = Access {
    mode: 0o660,
    group: None,
};
