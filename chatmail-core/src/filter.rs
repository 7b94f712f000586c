//! One message's session.
