//! A client of Delta Chat's core, which does all that a mail client does, as a program of its own:
//! `deltachat-rpc-server` keeps accounts in a directory and is asked over its standard input and
//! output, JSON-RPC 2.0 with one object a line.
//!
//! | module | knows |
//! |---|---|
//! | [`rpc`] | calls and answers, over any two streams |
//! | [`server`] | the program: its start, its end, and what it said last |
//! | [`relay`] | where a relay listens, for [`Account::set_transport`] |
//! | [`password`] | passwords in files |
//! | [`account`] | what one account can be asked, with names and types |
//! | [`event`] | what core tells unasked |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use chatmail_relay::deltachat::{Account, Server};
//!
//! let server = Server::start("deltachat-rpc-server".as_ref(), "/var/lib/bot/accounts".as_ref())?;
//! let account = Account::only(server.rpc()).await?;
//! println!("{}", account.invite_link().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors, and what may be logged
//!
//! Core's own words may hold addresses, names of files or what somebody wrote. [`Error`] shows them
//! nowhere unless it is asked for them: see [`Error::words`].

pub mod account;
pub mod event;
pub mod password;
pub mod relay;
pub mod rpc;
pub mod server;

pub use account::{Account, Chat, ChatKind, Message, Outgoing, Transport};
pub use event::{Event, EventKind};
pub use relay::Relay;
pub use rpc::{Error, Rpc};
pub use server::Server;
